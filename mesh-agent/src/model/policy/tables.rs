//! What the kernel looks things up in, made from the policies, and the same look-ups in user space.
//!
//! Two reads find the class of a peer (its address among pods, else the longest prefix), at most
//! [`PROBES`](mesh_common::policy::PROBES) what a rule set says of it, however many policies there are.
//!
//! A change gets there in an order in which every flow is judged by all of it or by nothing of it; sets in force never
//! change what they say. Traits of peers keep the number of their class for as long as they are in use, then:
//! 1. Where a class splits, the sets in force learn the numbers of its parts, and say of them what they say of it.
//! 2. Addresses and prefixes move to their new classes.
//! 3. New sets are written.
//! 4. Pods are switched to them: both numbers of a pod are one value.
//! 5. Where classes became one, addresses move; after a rest, what nobody refers to any more goes.

use std::collections::HashMap;

use mesh_common::addr::Port;
use mesh_common::decide::policy::{self as decide, Question as Probe};
use mesh_common::policy::{Direction, OPEN, PolicyKey};
use mesh_common::tag::Tagged;

use super::class::Divided;
use super::index::Index;
use super::set::{Place, RuleSet};
use super::{Classes, Cluster, NamedPort, Pod, Question, RuleRef, Side, Verdict};
use crate::model::object::NetworkPolicy;

/// The tables of one node.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// The class of every peer.
    pub classes: Classes,
    /// By place in [`Cluster::pods`], for pods of this node: the numbers of their sets for ingress and egress.
    pub pods: HashMap<usize, [u32; 2]>,
    /// The rules of all sets.
    pub entries: HashMap<PolicyKey, Tagged>,
    /// The names of rules, by number.
    pub rules: Vec<RuleRef>,
}

impl Tables {
    /// Makes the tables of the node that has these pods, given by their place in [`Cluster::pods`].
    #[must_use]
    pub fn new(cluster: &Cluster, local: impl IntoIterator<Item = usize>) -> Self {
        let divided = Divided::new(cluster);
        let policies = Policies::new(cluster);
        let mut sets = Sets::default();
        let pods = local.into_iter().filter_map(|place| {
            let pod = cluster.pods.get(place)?;
            Some((place, policies.sets(pod, &divided, &mut sets)))
        });
        let pods = pods.collect();
        Self {
            classes: divided.classes,
            pods,
            entries: sets.entries,
            rules: policies.rules,
        }
    }

    /// What both ends say to a flow, by the look-ups the kernel's programs do.
    #[must_use]
    pub fn judge(&self, question: &Question) -> Verdict {
        question.ask(|direction, pod, other| {
            let Some(sets) = self.pods.get(&pod) else {
                return Side::NoPod;
            };
            let probe = Probe {
                set: sets[direction as usize],
                peer: self.classes.of(&other),
                protocol: question.protocol,
                port: Port::new(question.port),
            };
            let lookup = |key: &PolicyKey| {
                let value = self.entries.get(key).copied();
                value.filter(|value| value.belongs_to(key.hash()))
            };
            match decide::judge(probe, lookup) {
                decide::Verdict::Open => Side::Open,
                decide::Verdict::Denied => Side::Isolated,
                decide::Verdict::Allowed { rule } => {
                    let rule = usize::try_from(rule).ok().and_then(|rule| self.rules.get(rule));
                    rule.map_or(Side::Isolated, |rule| Side::Allowed(rule.clone()))
                }
            }
        })
    }
}

/// The policies in order, their rules numbered.
struct Policies<'a> {
    all: Vec<&'a NetworkPolicy>,
    /// The numbers of the first rules of each for ingress and egress.
    first: Vec<[u32; 2]>,
    rules: Vec<RuleRef>,
    index: Index<'a>,
}

impl<'a> Policies<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let all: Vec<&NetworkPolicy> = cluster.policies.values().map(AsRef::as_ref).collect();
        let mut rules = Vec::new();
        let first = all.iter().map(|policy| {
            Direction::ALL.map(|direction| {
                let first = u32::try_from(rules.len()).unwrap_or(u32::MAX);
                let these = policy.rules(direction).into_iter().flatten();
                rules.extend(these.map(|rule| RuleRef {
                    policy: policy.name.clone(),
                    direction,
                    index: rule.index,
                }));
                first
            })
        });
        let first = first.collect();
        let selectors = all.iter().enumerate();
        let selectors = selectors.map(|(at, policy)| (at, Some(&*policy.name.namespace), &policy.pods));
        Self {
            index: Index::new(selectors),
            all,
            first,
            rules,
        }
    }

    /// The places of the policies that select a pod, in order.
    fn selecting(&self, pod: &Pod) -> Vec<usize> {
        let candidates = self.index.candidates(&pod.name.namespace, &pod.labels);
        let mut selecting: Vec<_> = candidates
            .filter(|&at| self.all[at].pods.matches(&pod.labels))
            .collect();
        selecting.sort_unstable();
        selecting
    }

    /// The numbers of a pod's sets.
    fn sets(&self, pod: &Pod, divided: &Divided<'a>, sets: &mut Sets) -> [u32; 2] {
        let selecting = self.selecting(pod);
        Direction::ALL.map(|direction| {
            let isolating = selecting.iter().copied();
            let isolating: Vec<_> = isolating
                .filter(|&at| self.all[at].rules(direction).is_some())
                .collect();
            if isolating.is_empty() {
                return OPEN;
            }
            let subject = Subject {
                direction,
                isolating,
                ports: pod.ports.clone(),
            };
            if let Some(&number) = sets.by_subject.get(&subject) {
                return number;
            }
            let policies = subject.isolating.iter();
            let policies = policies.map(|&at| (self.all[at], self.first[at][direction as usize]));
            let place = Place {
                direction,
                pod,
                divided,
            };
            let number = sets.number(RuleSet::new(policies, &place));
            sets.by_subject.insert(subject, number);
            number
        })
    }
}

/// What a set depends on at the pod it belongs to: pods that agree in this have the same.
#[derive(Eq, Hash, PartialEq)]
struct Subject {
    direction: Direction,
    /// The places of the policies that isolate it.
    isolating: Vec<usize>,
    ports: Vec<NamedPort>,
}

/// Sets as they get their numbers.
#[derive(Default)]
struct Sets {
    by_subject: HashMap<Subject, u32>,
    numbers: HashMap<RuleSet, u32>,
    entries: HashMap<PolicyKey, Tagged>,
}

impl Sets {
    /// The number of a set; equal sets have one.
    fn number(&mut self, set: RuleSet) -> u32 {
        let next = u32::try_from(self.numbers.len() + 1).unwrap_or(u32::MAX);
        if let Some(&number) = self.numbers.get(&set) {
            return number;
        }
        self.entries.extend(set.entries(next));
        self.numbers.insert(set, next);
        next
    }
}

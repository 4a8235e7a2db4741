//! Which sets the pods of this node shall have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_common::policy::Direction;
use mesh_common::rules::flag;

use super::classes::Member;
use super::editions::EditionId;
use super::set::{Set, SetId, SetPorts, SetRule, Subject};
use super::universe::{PortName, PrefixRoom, Term};
use super::{Enforcement, PodFacts};
use crate::model::desired::PodKey;
use crate::model::object::network_policy::PortRange;
use crate::model::policy::NamedPort;

/// What `POD_RULES` shall hold of a pod.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) pod: PodKey,
    pub(super) sets: [Option<SetId>; 2],
    pub(super) flags: u8,
}

/// Pods whose value changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// `None`: it goes.
    pub(super) pods: BTreeMap<u32, Option<Wanted>>,
    /// Sets that pods leave for others: by how many, and in which direction.
    pub(super) left: BTreeMap<SetId, Vec<u32>>,
}

impl Enforcement {
    /// Chooses the sets of pods about which something changed. Sets that are new look at their terms from here on.
    pub(super) fn choose(&mut self) -> Choice {
        let mut choice = Choice::default();
        let free = self.free_prefixes();
        let mut free_left = free;
        for workload in std::mem::take(&mut self.dirty.workloads) {
            let known = self.pods.holders.get(&workload).cloned();
            let facts = known.as_ref().and_then(|key| self.pods.get(key)?.facts.clone());
            let (Some(pod), Some(facts)) = (&known, facts) else {
                self.unchosen(workload, known.as_ref(), &mut choice);
                continue;
            };
            let sets = Direction::ALL.map(|direction| {
                let subject = self.subject(pod, &facts, direction)?;
                Some(self.set_for(subject, pod, &mut free_left))
            });
            let audited = self
                .namespaces
                .get(&pod.object.namespace)
                .is_some_and(|it| it.audited);
            let wanted = Wanted {
                pod: pod.clone(),
                sets,
                flags: if audited { flag::AUDIT } else { 0 },
            };
            self.leave(workload, Some(wanted.sets), &mut choice);
            choice.pods.insert(workload, Some(wanted));
        }
        choice
    }

    /// A workload id that no pod has, or one of which nothing is known yet.
    fn unchosen(&mut self, workload: u32, pod: Option<&PodKey>, choice: &mut Choice) {
        let Some(tenant) = self.tenants.get(&workload) else {
            return;
        };
        // A pod of which nothing is known yet keeps what it has.
        if pod.is_some() && (tenant.pod.is_none() || tenant.pod.as_ref() == pod) {
            return;
        }
        self.leave(workload, None, choice);
        choice.pods.insert(workload, None);
    }

    /// Notes that a pod gives up the sets it has.
    fn leave(&mut self, workload: u32, wanted: Option<[Option<SetId>; 2]>, choice: &mut Choice) {
        let Some(tenant) = self.tenants.get(&workload) else {
            return;
        };
        let sets = tenant.sets;
        for direction in Direction::ALL {
            let Some(old) = sets[direction as usize] else {
                continue;
            };
            self.sets.leave(old);
            if wanted.is_some_and(|wanted| wanted[direction as usize] != Some(old)) {
                choice.left.entry(old).or_default().push(workload);
            }
        }
    }

    /// What a pod's set in a direction depends on; `None` where no policy isolates it.
    fn subject(&self, key: &PodKey, facts: &PodFacts, direction: Direction) -> Option<Subject> {
        let pod = self.pods.get(key)?;
        let policies = pod.selecting.iter().filter_map(|name| self.policies.get(name));
        let editions: Vec<EditionId> = policies
            .filter_map(|it| it.editions[direction as usize])
            .collect();
        if editions.is_empty() {
            return None;
        }
        let mut names: BTreeSet<PortName> = BTreeSet::new();
        if direction == Direction::Ingress {
            for edition in editions.iter().filter_map(|id| self.policies.editions.get(id)) {
                names.extend(own_names(edition));
            }
        }
        let number = |name: PortName| {
            let same = |port: &&NamedPort| port.name == name.0 && port.transport == name.1;
            let port = facts.ports.iter().find(same)?.port;
            Some((name, port))
        };
        Some(Subject {
            direction,
            editions,
            ports: names.into_iter().filter_map(number).collect(),
        })
    }

    /// The set for that, with one pod more.
    fn set_for(&mut self, subject: Subject, pod: &PodKey, free: &mut usize) -> SetId {
        if let Some(&id) = self.sets.by_subject.get(&subject) {
            let set = &self.sets.all[&id];
            let fits = set.users > 0 || self.sets.fits_again(&self.limits, set);
            if fits {
                self.sets.take(id);
                return id;
            }
            self.sets.pass(id);
        }
        let mut set = self.make(subject, &pod.object.namespace, free);
        set.users = 1;
        self.sets.add(set)
    }

    /// A set that is not in the table yet.
    pub(super) fn make(&mut self, subject: Subject, namespace: &Arc<str>, free: &mut usize) -> Set {
        let mut set = Set::new(namespace.clone(), subject.direction);
        let classes = &self.classes;
        let mut room = PrefixRoom {
            free: *free,
            there: &|cut| classes.at(&Member::Prefix(*cut)).is_some(),
        };
        for id in &subject.editions {
            let Some(edition) = self.policies.acquire(*id) else {
                continue;
            };
            set.policies.push(edition.object.name.clone());
            let rules = edition.object.rules(subject.direction).unwrap_or_default();
            for (rule, &number) in rules.iter().zip(&edition.numbers) {
                let terms = rule.peers.iter().map(|peer| Term::new(namespace, peer));
                let terms = terms.map(|term| self.universe.acquire_term(&term, &mut room));
                let peers = (!rule.peers.is_empty()).then(|| terms.collect());
                let own = |name: &PortName| {
                    let found = subject.ports.iter().find(|(known, _)| known == name);
                    found.map(|&(_, port)| port)
                };
                let ports = if rule.ports.is_empty() {
                    vec![SetPorts::everything()]
                } else {
                    let ports = rule.ports.iter();
                    let of = |port| {
                        SetPorts::of(port, subject.direction, own, |name| {
                            self.universe.acquire_name(name)
                        })
                    };
                    ports.map(of).collect()
                };
                set.rules.push(SetRule { number, peers, ports });
            }
        }
        *free = room.free;
        set.subject = Some(subject.clone());
        set.editions = subject.editions;
        set
    }
}

/// Names in rules for ingress are those of the pods that the rules belong to.
fn own_names(edition: &super::editions::Edition) -> impl Iterator<Item = PortName> {
    let rules = edition.object.rules(edition.direction).unwrap_or_default();
    let ports = rules.iter().flat_map(|rule| &rule.ports);
    ports.filter_map(|port| match &port.range {
        PortRange::Named(name) => Some((name.clone(), port.transport)),
        PortRange::All | PortRange::Numbers { .. } => None,
    })
}

//! From what is known of pods and policies to writes to the kernel's tables, change by change.
//!
//! Facts come by the `set_` methods, in any order and as often as one likes; [`Enforcement::plan`] makes the writes that
//! bring the tables from where they are to what the facts say. A flow is judged, at every moment, by all of a plan or by
//! none of it, each end for itself; a plan that was interrupted anywhere is taken up by [`Enforcement::adopt`].
//!
//! Words used here: a *term* is a peer as a rule names it. The *traits* of an address are the terms that match, and its
//! numbers for the names of ports, of those that sets in the tables look at. A *class* is a number for traits, a *set*
//! one for {direction, the isolating policies as they are, the pod's named ports}. How a change goes is said in `plan`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mesh_common::abi::map;
use mesh_common::addr::{Addr, Port};
use mesh_common::decide::policy as decide;
use mesh_common::policy::{Direction, OPEN, PolicyKey};

use super::{NamespaceFacts, Observed, Op, PodFacts, RuleRef};
use crate::model::desired::{ObjectName, PodKey};
use crate::model::object::{Labels, NetworkPolicy};

mod adopt;
mod choose;
mod classes;
mod counted;
mod divide;
mod editions;
mod listing;
mod numbers;
mod plan;
mod pods;
mod room;
mod set;
mod sets;
mod tenant;
mod traits;
mod universe;

use classes::Classes;
use editions::Policies;
use pods::Pods;
use sets::Sets;
use tenant::Tenant;
use universe::Universe;

pub use room::{Limits, Problem, Shortage};

/// How long what nobody refers to any more stays in the tables, and numbers are kept back: far longer than any program
/// runs that read them before.
pub const REST: Duration = Duration::from_secs(10);

/// What a set is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetInfo {
    /// Which way the flows go that it judges.
    pub direction: Direction,
    /// The policies that isolate its pods, in order.
    pub policies: Vec<ObjectName>,
}

/// The rules of this node's pods, as the facts have them and as the kernel's tables hold them.
#[derive(Clone, Debug)]
pub struct Enforcement {
    limits: Limits,
    namespaces: HashMap<Arc<str>, NamespaceFacts>,
    policies: Policies,
    pods: Pods,
    universe: Universe,
    classes: Classes,
    sets: Sets,
    /// `POD_RULES`.
    tenants: BTreeMap<u32, Tenant>,
    /// What changed since the last plan.
    dirty: Dirty,
    /// `metadata.generation` of policies as planned.
    generations: HashMap<ObjectName, i64>,
    /// Addresses that found no room in `CLASSES`.
    homeless: BTreeSet<Addr>,
    /// Pods of this node that found no room in `POD_RULES`.
    shut_out: BTreeSet<u32>,
    /// What a previous agent left that nobody reads.
    strays: Vec<Op>,
    /// Numbers of rules that a previous agent gave out.
    foreign_rules: Vec<u32>,
    /// When the last plan was made, and whether it left something to be done at once.
    now: Duration,
    again: bool,
}

/// What facts are about that changed.
#[derive(Clone, Debug, Default)]
struct Dirty {
    addresses: HashSet<Addr>,
    workloads: BTreeSet<u32>,
    policies: BTreeSet<ObjectName>,
    /// Everything in the tables.
    all: bool,
}

impl Dirty {
    fn is_clean(&self) -> bool {
        self.addresses.is_empty() && self.workloads.is_empty() && self.policies.is_empty() && !self.all
    }
}

impl Enforcement {
    /// Of a node whose tables are empty.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            namespaces: HashMap::new(),
            policies: Policies::new(),
            pods: Pods::default(),
            universe: Universe::default(),
            classes: Classes::new(),
            sets: Sets::new(),
            tenants: BTreeMap::new(),
            dirty: Dirty::default(),
            generations: HashMap::new(),
            homeless: BTreeSet::new(),
            shut_out: BTreeSet::new(),
            strays: Vec::new(),
            foreign_rules: Vec::new(),
            now: Duration::ZERO,
            again: false,
        }
    }

    /// What is known of a namespace; `None`: nothing.
    pub fn set_namespace(&mut self, name: &str, facts: Option<NamespaceFacts>) {
        let old = self.namespaces.get(name);
        if old == facts.as_ref() {
            return;
        }
        let audited = |facts: Option<&NamespaceFacts>| facts.is_some_and(|facts| facts.audited);
        let labels =
            |facts: Option<&NamespaceFacts>| facts.map_or_else(Labels::default, |facts| facts.labels.clone());
        let relabelled = labels(old) != labels(facts.as_ref());
        let switched = audited(old) != audited(facts.as_ref());
        for (_, pod) in self.pods.of_namespace(name) {
            if let Some(facts) = pod.facts.as_ref().filter(|_| relabelled && pod.present) {
                self.dirty.addresses.extend(&facts.addresses);
            }
            self.dirty.workloads.extend(pod.workload.filter(|_| switched));
        }
        match facts {
            Some(facts) => drop(self.namespaces.insert(name.into(), facts)),
            None => drop(self.namespaces.remove(name)),
        }
    }

    /// A policy as it is now; `None`: there is none of that name.
    pub fn set_policy(&mut self, name: &ObjectName, policy: Option<Arc<NetworkPolicy>>) {
        let old = self.policies.get(name).map(|old| &old.object);
        if old == policy.as_ref() {
            return;
        }
        let members = self.pods.by_namespace.get(&name.namespace);
        for key in members.into_iter().flatten() {
            let Some(pod) = self.pods.all.get_mut(key) else {
                continue;
            };
            let (Some(workload), Some(facts)) = (pod.workload, &pod.facts) else {
                continue;
            };
            let selected = policy.as_ref().is_some_and(|it| it.pods.matches(&facts.labels));
            let was_selected = if selected {
                !pod.selecting.insert(name.clone())
            } else {
                pod.selecting.remove(name)
            };
            if selected || was_selected {
                self.dirty.workloads.insert(workload);
            }
        }
        self.policies.set(name, policy);
        self.dirty.policies.insert(name.clone());
    }

    /// A pod of the cluster that has a network of its own, whichever node it is on; `None`: it is gone. The rules of a
    /// pod that is still on this node stay as they were then.
    pub fn set_pod(&mut self, key: &PodKey, facts: Option<PodFacts>) {
        let old = self
            .pods
            .get(key)
            .filter(|pod| pod.present)
            .and_then(|pod| pod.facts.as_ref());
        if old == facts.as_ref() {
            return;
        }
        let old = old.cloned();
        for addr in old.iter().flat_map(|facts| &facts.addresses) {
            self.pods.disclaim(*addr, key);
            self.dirty.addresses.insert(*addr);
        }
        for addr in facts.iter().flat_map(|facts| &facts.addresses) {
            self.pods.claim(*addr, key);
            self.dirty.addresses.insert(*addr);
        }
        let pod = self.pods.entry(key);
        pod.present = facts.is_some();
        if facts.is_some() {
            pod.facts = facts;
            self.dirty.workloads.extend(pod.workload);
        }
        self.select(key);
        self.pods.tidy(key);
    }

    /// A pod of this node that is in the mesh, by its workload id; `None`: it is not.
    pub fn set_local(&mut self, key: &PodKey, workload: Option<u32>) {
        let old = self.pods.get(key).and_then(|pod| pod.workload);
        if old == workload {
            return;
        }
        if let Some(old) = old {
            self.pods.holders.remove(&old);
            self.dirty.workloads.insert(old);
        }
        if let Some(workload) = workload {
            self.dirty.workloads.insert(workload);
            let before = self.pods.holders.insert(workload, key.clone());
            if let Some(before) = before {
                self.pods.entry(&before).workload = None;
                self.select(&before);
                self.pods.tidy(&before);
            }
        }
        self.pods.entry(key).workload = workload;
        self.select(key);
        self.pods.tidy(key);
    }

    /// Notes which policies select a pod of this node.
    fn select(&mut self, key: &PodKey) {
        let Some(pod) = self.pods.all.get_mut(key) else {
            return;
        };
        pod.selecting.clear();
        if let (Some(_), Some(facts)) = (pod.workload, &pod.facts) {
            let policies = self.policies.of_namespace(&key.object.namespace);
            let selecting = policies.filter(|(_, policy)| policy.object.pods.matches(&facts.labels));
            pod.selecting.extend(selecting.map(|(name, _)| name.clone()));
        }
    }

    /// When there is something to plan though no fact changes: what rested may go, or what found no room may find some.
    /// On the clock of [`Self::plan`].
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        if self.again || !self.strays.is_empty() {
            return Some(self.now);
        }
        let sets = self.sets.all.values().filter_map(|set| set.rests_until);
        sets.chain(self.classes.next_rested()).min()
    }

    /// What the kernel's tables hold once all that was planned is written.
    #[must_use]
    pub fn expected(&self) -> Observed {
        let mut expected = Observed::default();
        for set in self.sets.all.values() {
            let Some(number) = set.number else { continue };
            for (&class, listing) in &set.listed {
                expected.rules.extend(listing.written(number, class));
            }
        }
        for (member, class) in self.classes.members() {
            plan::expect(*member, class, &mut expected);
        }
        let tenants = self.tenants.iter();
        expected.pods = tenants
            .map(|(&workload, tenant)| (workload, tenant.rules(workload)))
            .collect();
        expected
    }

    /// The name of a rule, by its number in an entry.
    #[must_use]
    pub fn rule(&self, number: u32) -> Option<RuleRef> {
        self.policies.rules.get(&number).cloned()
    }

    /// What a set is, by its number.
    #[must_use]
    pub fn set(&self, number: u32) -> Option<SetInfo> {
        let set = &self.sets.all[self.sets.by_number.get(&number)?];
        Some(SetInfo {
            direction: set.direction,
            policies: set.policies.clone(),
        })
    }

    /// All sets that have a number.
    pub fn sets(&self) -> impl Iterator<Item = (u32, SetInfo)> {
        let numbers = self.sets.by_number.keys();
        numbers.filter_map(|&number| Some((number, self.set(number)?)))
    }

    /// How full each table is: name, entries, capacity.
    #[must_use]
    pub fn usage(&self) -> [(&'static str, u32, u32); 4] {
        let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX);
        let Limits {
            rules,
            classes,
            cidrs,
            pods,
            ..
        } = self.limits;
        [
            (map::POLICY, count(self.sets.used), rules),
            (map::CLASSES, count(self.classes.addresses()), classes),
            (map::CIDRS, count(self.classes.prefixes), cidrs),
            (map::POD_RULES, count(self.tenants.len()), pods),
        ]
    }

    /// Whether some policy selects a pod of this node, so that its rules can deny anything.
    #[must_use]
    pub fn isolates(&self, workload: u32) -> bool {
        let tenant = self.tenants.get(&workload);
        tenant.is_some_and(|tenant| tenant.numbers.iter().any(|&set| set != OPEN))
    }

    /// What the rules of a pod of this node say of a flow, as the kernel's programs read them; `None` where they know
    /// nothing of the pod. Port in host order, protocol by its IANA number. That a pod reaches itself is not asked here.
    #[must_use]
    pub fn verdict(
        &self,
        workload: u32,
        direction: Direction,
        other: &Addr,
        protocol: u8,
        port: u16,
    ) -> Option<decide::Verdict> {
        let question = decide::Question {
            set: self.tenants.get(&workload)?.numbers[direction as usize],
            peer: self.classes.of(other),
            protocol,
            port: Port::new(port),
        };
        let lookup = |key: &PolicyKey| self.sets.all[self.sets.by_number.get(&key.set)?].find(key);
        Some(decide::judge(question, lookup))
    }

    /// `metadata.generation` of the version of a policy that is in force here; `None` where there is none, or where some
    /// pod's rules that it is a part of found no room.
    #[must_use]
    pub fn generation(&self, name: &ObjectName) -> Option<i64> {
        let has_it = |set| {
            self.sets
                .all
                .get(set)
                .is_some_and(|set| set.policies.contains(name))
        };
        let closed = self.sets.closed.keys().any(has_it);
        self.generations.get(name).copied().filter(|_| !closed)
    }

    /// How much is remembered: sets, classes, terms and names, numbers of rules.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> [usize; 4] {
        let sets = self.sets.all.len();
        [
            sets,
            self.classes.len(),
            self.universe.len(),
            self.policies.rules.len(),
        ]
    }
}

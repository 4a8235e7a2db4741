//! Policies, and which version of their rules is which.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mesh_common::policy::Direction;

use super::numbers::Numbers;
use crate::model::desired::ObjectName;
use crate::model::object::NetworkPolicy;
use crate::model::policy::RuleRef;

/// Names the rules of a policy in a direction for as long as they stay as they are.
pub(super) type EditionId = u64;

/// A policy.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) object: Arc<NetworkPolicy>,
    /// Its rules, in the order of [`Direction::ALL`]; `None` where it does not isolate.
    pub(super) editions: [Option<EditionId>; 2],
}

/// The rules of a policy in a direction.
#[derive(Clone, Debug)]
pub(super) struct Edition {
    pub(super) object: Arc<NetworkPolicy>,
    pub(super) direction: Direction,
    /// The numbers of its rules, from when a set first has them.
    pub(super) numbers: Vec<u32>,
    /// How many sets have them, and whether the policy still does.
    users: usize,
    current: bool,
}

/// All policies, by namespace, and the rules that they, or sets in the kernel's tables, have.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    pub(super) all: HashMap<Arc<str>, BTreeMap<ObjectName, Policy>>,
    pub(super) editions: HashMap<EditionId, Edition>,
    next: EditionId,
    pub(super) numbers: Numbers,
    pub(super) rules: HashMap<u32, RuleRef>,
}

impl Policies {
    pub(super) fn new() -> Self {
        Self {
            all: HashMap::new(),
            editions: HashMap::new(),
            next: 0,
            numbers: Numbers::new(u32::MAX),
            rules: HashMap::new(),
        }
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&Policy> {
        self.all.get(&name.namespace)?.get(name)
    }

    pub(super) fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = (&ObjectName, &Policy)> {
        self.all.get(namespace).into_iter().flatten()
    }

    /// Replaces a policy. Rules that stayed as they were keep their edition.
    pub(super) fn set(&mut self, name: &ObjectName, object: Option<Arc<NetworkPolicy>>) {
        let old = self.get(name).cloned();
        let Some(object) = object else {
            self.forget(name);
            self.retire(old.map_or([None; 2], |old| old.editions));
            return;
        };
        let mut dropped = [None; 2];
        let editions = Direction::ALL.map(|direction| {
            let kept = old.as_ref().and_then(|old| old.editions[direction as usize]);
            let same = old.as_ref().map(|old| old.object.rules(direction)) == Some(object.rules(direction));
            if kept.is_some() && same {
                return kept;
            }
            dropped[direction as usize] = kept;
            object.rules(direction)?;
            self.next += 1;
            let edition = Edition {
                object: object.clone(),
                direction,
                numbers: Vec::new(),
                users: 0,
                current: true,
            };
            self.editions.insert(self.next, edition);
            Some(self.next)
        });
        self.retire(dropped);
        let policies = self.all.entry(name.namespace.clone()).or_default();
        policies.insert(name.clone(), Policy { object, editions });
    }

    fn forget(&mut self, name: &ObjectName) {
        if let Some(policies) = self.all.get_mut(&name.namespace) {
            policies.remove(name);
            if policies.is_empty() {
                self.all.remove(&name.namespace);
            }
        }
    }

    fn retire(&mut self, editions: [Option<EditionId>; 2]) {
        for id in editions.into_iter().flatten() {
            if let Some(edition) = self.editions.get_mut(&id) {
                edition.current = false;
            }
            self.drop_unused(id);
        }
    }

    /// One more set has these rules; they have numbers from now on (0, which names none, once four milliards are in use).
    pub(super) fn acquire(&mut self, id: EditionId) -> Option<&Edition> {
        let edition = self.editions.get_mut(&id)?;
        if edition.users == 0 {
            let rules = edition.object.rules(edition.direction).unwrap_or_default();
            for rule in rules {
                let number = self.numbers.take().unwrap_or_default();
                edition.numbers.push(number);
                let name = RuleRef {
                    policy: edition.object.name.clone(),
                    direction: edition.direction,
                    index: rule.index,
                };
                self.rules.insert(number, name);
            }
        }
        edition.users += 1;
        Some(edition)
    }

    /// One set less has these rules.
    pub(super) fn release(&mut self, id: EditionId) {
        if let Some(edition) = self.editions.get_mut(&id) {
            edition.users -= 1;
            if edition.users == 0 {
                for number in edition.numbers.drain(..) {
                    self.numbers.give_back(number);
                    self.rules.remove(&number);
                }
            }
        }
        self.drop_unused(id);
    }

    fn drop_unused(&mut self, id: EditionId) {
        let unused = |edition: &Edition| edition.users == 0 && !edition.current;
        if self.editions.get(&id).is_some_and(unused) {
            self.editions.remove(&id);
        }
    }
}

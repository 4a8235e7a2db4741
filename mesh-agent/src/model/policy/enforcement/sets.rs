//! All sets, and how much of the table they take.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mesh_common::rules::MOST_SETS;

use super::counted::Id;
use super::listing::Listing;
use super::numbers::Numbers;
use super::set::{Set, SetId, Subject};
use super::{Limits, Shortage};

/// The sets that pods have, and those that rest.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    pub(super) all: BTreeMap<SetId, Set>,
    next: SetId,
    pub(super) by_subject: HashMap<Subject, SetId>,
    pub(super) by_number: HashMap<u32, SetId>,
    /// Those with rules, by the terms and names they look at.
    looking: HashMap<Id, BTreeSet<SetId>>,
    /// Those without a subject: they only last until no pod has them.
    pub(super) passing: BTreeSet<SetId>,
    /// Those that found no room, and why.
    pub(super) closed: BTreeMap<SetId, Shortage>,
    pub(super) numbers: Numbers,
    /// Entries in the table, and those of sets in force by namespace.
    pub(super) used: usize,
    by_namespace: HashMap<Arc<str>, usize>,
}

impl Sets {
    pub(super) fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            next: 0,
            by_subject: HashMap::new(),
            by_number: HashMap::new(),
            looking: HashMap::new(),
            passing: BTreeSet::new(),
            closed: BTreeMap::new(),
            numbers: Numbers::new(MOST_SETS - 1),
            used: 0,
            by_namespace: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, set: Set) -> SetId {
        self.next = self.next.wrapping_add(1);
        let id = self.next;
        match &set.subject {
            None => drop(self.passing.insert(id)),
            Some(subject) => {
                self.by_subject.insert(subject.clone(), id);
                for it in set.looks_at() {
                    self.looking.entry(it).or_default().insert(id);
                }
            }
        }
        if let Some(number) = set.number {
            self.by_number.insert(number, id);
        }
        self.used += set.entries;
        if set.users > 0 {
            self.count(&set.namespace, set.entries, 0);
        }
        self.all.insert(id, set);
        id
    }

    /// Nobody new gets this set.
    pub(super) fn pass(&mut self, id: SetId) {
        let Some(set) = self.all.get_mut(&id) else {
            return;
        };
        let Some(subject) = set.subject.take() else {
            return;
        };
        self.by_subject.remove(&subject);
        self.passing.insert(id);
        for it in self.all[&id].looks_at() {
            if let Some(sets) = self.looking.get_mut(&it) {
                sets.remove(&id);
                if sets.is_empty() {
                    self.looking.remove(&it);
                }
            }
        }
    }

    /// Takes a set out, with all that is in it.
    pub(super) fn remove(&mut self, id: SetId) -> Option<Set> {
        self.pass(id);
        self.passing.remove(&id);
        self.closed.remove(&id);
        let set = self.all.remove(&id)?;
        if let Some(number) = set.number {
            self.by_number.remove(&number);
            self.numbers.give_back(number);
        }
        self.used -= set.entries;
        if set.users > 0 {
            self.count(&set.namespace, 0, set.entries);
        }
        Some(set)
    }

    /// The sets with rules that look at a term or name.
    pub(super) fn looking(&self, ids: impl IntoIterator<Item = Id>) -> BTreeSet<SetId> {
        let sets = ids.into_iter().filter_map(|id| self.looking.get(&id));
        sets.flatten().copied().collect()
    }

    /// It is in the table under this number.
    pub(super) fn number(&mut self, id: SetId, number: u32) {
        if let Some(set) = self.all.get_mut(&id) {
            set.number = Some(number);
            self.by_number.insert(number, id);
        }
    }

    fn count(&mut self, namespace: &Arc<str>, more: usize, less: usize) {
        let count = self.by_namespace.entry(namespace.clone()).or_default();
        *count = *count + more - less;
        if *count == 0 {
            self.by_namespace.remove(namespace);
        }
    }

    /// One more pod has it.
    pub(super) fn take(&mut self, id: SetId) {
        if let Some(set) = self.all.get_mut(&id) {
            set.users += 1;
            set.rests_until = None;
            if set.users == 1 {
                let (namespace, entries) = (set.namespace.clone(), set.entries);
                self.count(&namespace, entries, 0);
            }
        }
    }

    /// One pod less has it.
    pub(super) fn leave(&mut self, id: SetId) {
        if let Some(set) = self.all.get_mut(&id) {
            set.users -= 1;
            if set.users == 0 {
                let (namespace, entries) = (set.namespace.clone(), set.entries);
                self.count(&namespace, 0, entries);
            }
        }
    }

    /// Lists a class in a set.
    pub(super) fn list(&mut self, id: SetId, class: u32, listing: Arc<Listing>) {
        if let Some(set) = self.all.get_mut(&id) {
            let more = listing.len(class);
            let less = set.listed.insert(class, listing).map_or(0, |old| old.len(class));
            set.entries = set.entries + more - less;
            self.used = self.used + more - less;
            if set.users > 0 {
                let namespace = set.namespace.clone();
                self.count(&namespace, more, less);
            }
        }
    }

    /// Strikes a class off a set.
    pub(super) fn strike(&mut self, id: SetId, class: u32) -> Option<Arc<Listing>> {
        let set = self.all.get_mut(&id)?;
        let listing = set.listed.remove(&class)?;
        let less = listing.len(class);
        set.entries -= less;
        self.used -= less;
        if set.users > 0 {
            let namespace = set.namespace.clone();
            self.count(&namespace, 0, less);
        }
        Some(listing)
    }

    /// Whether the share of its namespace has room for a set that is in the table, but that no pod has.
    pub(super) fn fits_again(&self, limits: &Limits, set: &Set) -> bool {
        let of_namespace = self.by_namespace.get(&set.namespace).copied().unwrap_or_default();
        of_namespace + set.entries <= whole(limits.rules_per_namespace)
    }

    /// Whether so many more entries of a set fit; sets that no pod has are nobody's, but take room.
    pub(super) fn fits(&self, limits: &Limits, set: &Set, needed: usize) -> Result<(), Shortage> {
        let free = whole(limits.rules).saturating_sub(self.used);
        if needed > free {
            return Err(Shortage::Rules { needed, free });
        }
        let of_namespace = self.by_namespace.get(&set.namespace).copied().unwrap_or_default();
        let free = whole(limits.rules_per_namespace).saturating_sub(of_namespace);
        if set.users > 0 && needed > free {
            return Err(Shortage::Quota { needed, free });
        }
        Ok(())
    }
}

/// The kernel counts entries in 32 bits.
pub(super) fn whole(entries: u32) -> usize {
    usize::try_from(entries).unwrap_or(usize::MAX)
}

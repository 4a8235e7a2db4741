//! Classes by number, and who is in which.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mesh_common::addr::Addr;
use mesh_common::policy::ANYBODY;
use mesh_common::rules::MOST_CLASSES;

use super::counted::Id;
use super::numbers::Numbers;
use super::traits::Traits;
use super::universe::forget_length;
use crate::model::object::network_policy::Cidr;

/// What can be in a class.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Member {
    /// A prefix, in `CIDRS`.
    Prefix(Cidr),
    /// An address, in `CLASSES`.
    Address(Addr),
}

/// A class.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    /// `None` for one of a previous agent, until it is known what those in it are now.
    pub(super) traits: Option<Arc<Traits>>,
    pub(super) members: HashSet<Member>,
    /// When it may go.
    pub(super) rests_until: Option<Duration>,
}

/// The classes, and what the kernel's tables `CLASSES` and `CIDRS` hold.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    pub(super) numbers: Numbers,
    pub(super) all: HashMap<u32, Class>,
    /// The one class of each traits that new members go to.
    primary: HashMap<Arc<Traits>, u32>,
    /// By term or name of a port.
    by_trait: HashMap<Id, BTreeSet<u32>>,
    at: HashMap<Member, u32>,
    lengths: BTreeMap<u8, usize>,
    pub(super) prefixes: usize,
    /// Those without members that were not put to rest yet.
    vacated: BTreeSet<u32>,
}

impl Classes {
    pub(super) fn new() -> Self {
        let nothing = Arc::new(Traits::default());
        let anybody = Class {
            traits: Some(nothing.clone()),
            ..Class::default()
        };
        Self {
            numbers: Numbers::new(MOST_CLASSES),
            all: [(ANYBODY, anybody)].into(),
            primary: [(nothing, ANYBODY)].into(),
            by_trait: HashMap::new(),
            at: HashMap::new(),
            lengths: BTreeMap::new(),
            prefixes: 0,
            vacated: BTreeSet::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert!(self.primary.len() == self.all.len() && self.numbers.in_use() + 1 == self.all.len());
        self.all.len()
    }

    /// How many addresses are in `CLASSES`.
    pub(super) fn addresses(&self) -> usize {
        self.at.len() - self.prefixes
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&Member, u32)> {
        self.at.iter().map(|(member, &class)| (member, class))
    }

    /// Where a member has been put itself.
    pub(super) fn at(&self, member: &Member) -> Option<u32> {
        self.at.get(member).copied()
    }

    /// The class of an address.
    pub(super) fn of(&self, addr: &Addr) -> u32 {
        self.at(&Member::Address(*addr))
            .unwrap_or_else(|| self.around(&Cidr::host(addr)))
    }

    /// The class of a member: its own, or that of the prefix around it.
    pub(super) fn of_member(&self, member: &Member) -> u32 {
        match member {
            Member::Address(addr) => self.of(addr),
            Member::Prefix(prefix) => self.around(prefix),
        }
    }

    fn around(&self, part: &Cidr) -> u32 {
        let prefixes = self
            .lengths
            .keys()
            .rev()
            .filter_map(|&length| part.shortened(length));
        let mut classes = prefixes.filter_map(|prefix| self.at(&Member::Prefix(prefix)));
        classes.next().unwrap_or(ANYBODY)
    }

    pub(super) fn traits(&self, class: u32) -> Option<&Arc<Traits>> {
        self.all.get(&class)?.traits.as_ref()
    }

    pub(super) fn primary(&self, traits: &Traits) -> Option<u32> {
        self.primary.get(traits).copied()
    }

    /// The classes that have a term or a name.
    pub(super) fn with(&self, id: Id) -> impl Iterator<Item = u32> {
        self.by_trait.get(&id).into_iter().flatten().copied()
    }

    /// A class that nobody is in yet. `None` where no number is left.
    pub(super) fn create(&mut self, traits: &Arc<Traits>) -> Option<u32> {
        let number = self.numbers.take()?;
        self.all.insert(number, Class::default());
        self.name(number, traits);
        self.vacated.insert(number);
        Some(number)
    }

    /// New members with the traits of this class go to it, if there is no other.
    pub(super) fn make_primary(&mut self, class: u32) {
        if let Some(traits) = self.traits(class).cloned() {
            self.primary.entry(traits).or_insert(class);
        }
    }

    /// All members of a class have other traits from now on.
    pub(super) fn rename(&mut self, class: u32, traits: &Arc<Traits>) {
        self.unname(class);
        self.name(class, traits);
        self.make_primary(class);
    }

    fn name(&mut self, class: u32, traits: &Arc<Traits>) {
        for id in ids(traits) {
            self.by_trait.entry(id).or_default().insert(class);
        }
        if let Some(it) = self.all.get_mut(&class) {
            it.traits = Some(traits.clone());
        }
    }

    fn unname(&mut self, class: u32) {
        let Some(traits) = self.all.get_mut(&class).and_then(|it| it.traits.take()) else {
            return;
        };
        for id in ids(&traits) {
            if let Some(classes) = self.by_trait.get_mut(&id) {
                classes.remove(&class);
                if classes.is_empty() {
                    self.by_trait.remove(&id);
                }
            }
        }
        if self.primary.get(&traits) == Some(&class) {
            self.primary.remove(&traits);
        }
    }

    /// Puts a member into a class, or, with none, takes it out of the table.
    pub(super) fn put(&mut self, member: Member, class: Option<u32>) {
        let old = match class {
            Some(class) => self.at.insert(member, class),
            None => self.at.remove(&member),
        };
        if let Member::Prefix(prefix) = member {
            match (old, class) {
                (None, Some(_)) => {
                    self.prefixes += 1;
                    *self.lengths.entry(prefix.length()).or_default() += 1;
                }
                (Some(_), None) => {
                    self.prefixes -= 1;
                    forget_length(&mut self.lengths, prefix.length());
                }
                _ => {}
            }
        }
        if let Some(old) = old
            && let Some(it) = self.all.get_mut(&old)
        {
            it.members.remove(&member);
            if it.members.is_empty() {
                self.vacated.insert(old);
            }
        }
        if let Some(class) = class {
            let it = self.all.entry(class).or_default();
            it.members.insert(member);
            it.rests_until = None;
        }
    }

    /// A class of a previous agent.
    pub(super) fn adopt(&mut self, class: u32) {
        if class != ANYBODY && !self.all.contains_key(&class) {
            self.numbers.reserve(class);
            self.all.insert(class, Class::default());
            self.vacated.insert(class);
        }
    }

    /// Classes that lost their last member begin to rest.
    pub(super) fn rest(&mut self, until: Duration) {
        for class in std::mem::take(&mut self.vacated) {
            if let Some(it) = self.all.get_mut(&class)
                && class != ANYBODY
                && it.members.is_empty()
            {
                it.rests_until = Some(until);
            }
        }
    }

    /// Those that have rested.
    pub(super) fn rested(&self, now: Duration) -> Vec<u32> {
        let rested = |it: &Class| it.rests_until.is_some_and(|until| until <= now);
        let mut classes: Vec<_> = self
            .all
            .iter()
            .filter(|(_, it)| rested(it))
            .map(|(class, _)| *class)
            .collect();
        classes.sort_unstable();
        classes
    }

    /// When the next one has rested.
    pub(super) fn next_rested(&self) -> Option<Duration> {
        self.all.values().filter_map(|it| it.rests_until).min()
    }

    /// Nothing stands under the number any more.
    pub(super) fn forget(&mut self, class: u32) {
        self.unname(class);
        self.all.remove(&class);
        self.numbers.give_back(class);
    }
}

fn ids(traits: &Traits) -> impl Iterator<Item = Id> {
    let names = traits.ports.iter().map(|&(name, _)| name);
    traits.terms.iter().copied().chain(names)
}

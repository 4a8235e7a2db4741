//! A rule set: what passes at the pods that the same policies isolate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mesh_common::policy::{ANYBODY, Direction, PolicyKey};
use mesh_common::tag::Tagged;

use super::super::ports::{Prefix, prefixes};
use super::counted::Id;
use super::editions::EditionId;
use super::listing::Listing;
use super::traits::Traits;
use super::universe::PortName;
use crate::model::desired::ObjectName;
use crate::model::object::network_policy::{PortRange, PortRule};

/// Names a set here; never used for another one.
pub(super) type SetId = u32;

/// What a set depends on: pods that agree in this have the same.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Subject {
    pub(super) direction: Direction,
    /// The policies that isolate its pods, in order.
    pub(super) editions: Vec<EditionId>,
    /// The pods' numbers for the names in rules for ingress, in order.
    pub(super) ports: Vec<(PortName, u16)>,
}

/// A rule, with its terms and names looked up.
#[derive(Clone, Debug)]
pub(super) struct SetRule {
    /// Its number.
    pub(super) number: u32,
    /// `None`: everybody.
    pub(super) peers: Option<Vec<Id>>,
    pub(super) ports: Vec<SetPorts>,
}

impl SetRule {
    /// The names of peers' ports in it.
    pub(super) fn names(&self) -> impl Iterator<Item = Id> {
        self.ports.iter().filter_map(|ports| match ports {
            SetPorts::Named(name, _) => Some(*name),
            SetPorts::Of(_) => None,
        })
    }
}

#[derive(Clone, Debug)]
pub(super) enum SetPorts {
    /// The same of every peer.
    Of(Vec<Prefix>),
    /// The one that has this name at the peer.
    Named(Id, mesh_common::policy::Transport),
}

impl SetPorts {
    pub(super) fn everything() -> Self {
        Self::Of(Prefix::EVERYTHING.into())
    }

    /// What a rule says of ports; `own` tells the number of a name at the set's own pods, `name` the id of one of peers.
    pub(super) fn of(
        rule: &PortRule,
        direction: Direction,
        own: impl Fn(&PortName) -> Option<u16>,
        name: impl FnOnce(&PortName) -> Id,
    ) -> Self {
        match &rule.range {
            PortRange::Named(named) if direction == Direction::Egress => {
                Self::Named(name(&(named.clone(), rule.transport)), rule.transport)
            }
            _ => Self::Of(prefixes(rule, |named| own(&(named.to_owned(), rule.transport)))),
        }
    }
}

/// A set.
#[derive(Clone, Debug)]
pub(super) struct Set {
    /// Its number, once it is in the kernel's table.
    pub(super) number: Option<u32>,
    pub(super) namespace: Arc<str>,
    pub(super) direction: Direction,
    /// What it stands for; `None` for one that only lasts until no pod has it: of a previous agent, or a copy.
    pub(super) subject: Option<Subject>,
    pub(super) policies: Vec<ObjectName>,
    pub(super) editions: Vec<EditionId>,
    pub(super) rules: Vec<SetRule>,
    /// What it says of everybody, then what it says of those classes of which it says more.
    pub(super) listed: HashMap<u32, Arc<Listing>>,
    /// How many entries these take.
    pub(super) entries: usize,
    /// How many pods have it, after the plan in the making.
    pub(super) users: usize,
    /// When it may go.
    pub(super) rests_until: Option<Duration>,
}

impl Set {
    /// One without anything in it.
    pub(super) fn new(namespace: Arc<str>, direction: Direction) -> Self {
        Self {
            number: None,
            namespace,
            direction,
            subject: None,
            policies: Vec::new(),
            editions: Vec::new(),
            rules: Vec::new(),
            listed: HashMap::new(),
            entries: 0,
            users: 0,
            rests_until: None,
        }
    }

    /// The terms and names it looks at.
    pub(super) fn looks_at(&self) -> BTreeSet<Id> {
        let terms = |rule: &SetRule| rule.peers.iter().flatten().copied().collect::<Vec<_>>();
        let of_rule = |rule: &SetRule| terms(rule).into_iter().chain(rule.names()).collect::<Vec<_>>();
        self.rules.iter().flat_map(of_rule).collect()
    }

    /// What it says of everybody.
    pub(super) fn of_anybody(&self) -> Arc<Listing> {
        self.read(&Traits::default())
    }

    /// What its rules say of peers with these traits.
    pub(super) fn read(&self, traits: &Traits) -> Arc<Listing> {
        let mut passing: BTreeMap<Prefix, usize> = BTreeMap::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let is_peer = |peers: &Vec<Id>| peers.iter().any(|&term| traits.has(term));
            if !rule.peers.as_ref().is_none_or(is_peer) {
                continue;
            }
            for ports in &rule.ports {
                match ports {
                    // Where several rules say the same, the first is named.
                    SetPorts::Of(prefixes) => {
                        for &prefix in prefixes {
                            passing.entry(prefix).or_insert(at);
                        }
                    }
                    SetPorts::Named(name, transport) => {
                        if let Some(port) = traits.port(*name) {
                            passing.entry(Prefix::one(*transport, port)).or_insert(at);
                        }
                    }
                }
            }
        }
        let numbered = passing
            .into_iter()
            .map(|(prefix, at)| (prefix, self.rules[at].number));
        Listing::new(&numbered.collect())
    }

    /// What it says of a class now.
    pub(super) fn says(&self, class: u32) -> Option<&Arc<Listing>> {
        self.listed.get(&class).or_else(|| self.listed.get(&ANYBODY))
    }

    /// What it would have to list of a class with these traits; `None` where it says no more than of everybody.
    pub(super) fn lists(&self, traits: &Traits) -> Option<Arc<Listing>> {
        let listing = self.read(traits);
        let same = self
            .listed
            .get(&ANYBODY)
            .is_some_and(|anybody| *anybody == listing);
        (!same).then_some(listing)
    }

    /// An entry as the table holds it.
    pub(super) fn find(&self, key: &PolicyKey) -> Option<Tagged> {
        self.listed.get(&key.peer)?.find(key)
    }
}

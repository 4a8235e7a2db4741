//! Rule sets: what passes at pods that the same policies select.

use std::collections::BTreeMap;

use mesh_common::policy::{ANYBODY, Direction, PolicyKey};
use mesh_common::tag::Tagged;

use super::Pod;
use super::class::Divided;
use super::ports::{Prefix, prefixes};
use crate::model::object::NetworkPolicy;
use crate::model::object::network_policy::{PortRange, PortRule, Rule};

/// What passes, by class of the peer: ports, each with the rule that says so.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct RuleSet(BTreeMap<u32, Entries>);

type Entries = BTreeMap<Prefix, u32>;

/// Where a set is for.
pub(super) struct Place<'s, 'a> {
    pub(super) direction: Direction,
    pub(super) pod: &'s Pod,
    pub(super) divided: &'s Divided<'a>,
}

impl<'a> Place<'_, 'a> {
    /// What a rule lets pass here: ports, each with the class of the peer.
    fn passing(&self, policy: &'a NetworkPolicy, rule: &'a Rule) -> Vec<(u32, Prefix)> {
        let peers = (!rule.peers.is_empty()).then(|| self.divided.of_peers(policy, &rule.peers));
        let with_all = |prefixes: &[Prefix]| -> Vec<_> {
            let with = |class: &u32| {
                prefixes
                    .iter()
                    .map(|&prefix| (*class, prefix))
                    .collect::<Vec<_>>()
            };
            peers
                .as_ref()
                .map_or_else(|| with(&ANYBODY), |peers| peers.iter().flat_map(with).collect())
        };
        if rule.ports.is_empty() {
            return with_all(&Prefix::EVERYTHING);
        }
        let of_port = |port: &'a PortRule| match &port.range {
            // The peer's port, so each class has its own.
            PortRange::Named(name) if self.direction == Direction::Egress => {
                let classes = self.divided.of_port(name, port.transport).iter();
                let among_peers = |class| peers.as_ref().is_none_or(|peers| peers.contains(class));
                classes
                    .filter(|(class, _)| among_peers(class))
                    .map(|&(class, number)| (class, Prefix::one(port.transport, number)))
                    .collect()
            }
            _ => with_all(&prefixes(port, |name| self.pod.named_port(name, port.transport))),
        };
        rule.ports.iter().flat_map(of_port).collect()
    }
}

impl RuleSet {
    /// The rules of all policies that isolate a pod in a direction, each with the number of its first rule.
    pub(super) fn new<'a>(
        policies: impl Iterator<Item = (&'a NetworkPolicy, u32)>,
        place: &Place<'_, 'a>,
    ) -> Self {
        let mut set = Self::default();
        for (policy, first) in policies {
            let rules = policy.rules(place.direction).into_iter().flatten();
            for (rule, number) in rules.zip(first..) {
                for (class, prefix) in place.passing(policy, rule) {
                    allow(set.0.entry(class).or_default(), prefix, number);
                }
            }
        }
        set.complete();
        set
    }

    /// Gives every class what is for anybody, and drops those that have nothing else.
    fn complete(&mut self) {
        let anybody = self.0.remove(&ANYBODY).unwrap_or_default();
        for entries in self.0.values_mut() {
            for (&prefix, &rule) in &anybody {
                allow(entries, prefix, rule);
            }
        }
        self.0.retain(|_, entries| *entries != anybody);
        self.0.insert(ANYBODY, anybody);
    }

    /// Its entries under a number.
    pub(super) fn entries(&self, set: u32) -> impl Iterator<Item = (PolicyKey, Tagged)> {
        let listings = self.0.iter().filter(|(class, _)| **class != ANYBODY);
        let listings = listings.map(move |(&class, entries)| {
            let lengths = entries.keys().fold(0, |bits, prefix| bits | prefix.length_bit());
            let key = PolicyKey::listing(set, class);
            (key, key.of_lengths(lengths))
        });
        let rules = self.0.iter().flat_map(move |(&class, entries)| {
            entries.iter().map(move |(prefix, &rule)| {
                let key = prefix.key(set, class);
                (key, key.allowing(rule))
            })
        });
        listings.chain(rules)
    }
}

/// Where several rules say the same, the first is named.
fn allow(entries: &mut Entries, prefix: Prefix, rule: u32) {
    let first = entries.entry(prefix).or_insert(rule);
    *first = rule.min(*first);
}

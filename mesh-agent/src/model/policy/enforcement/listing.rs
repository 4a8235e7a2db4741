//! What a set says of one class.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_common::policy::{ALLOW, ANYBODY, PolicyKey};
use mesh_common::tag::Tagged;

use super::super::ports::Prefix;

/// The entries of a set for a class: ports by prefix, each with the rule that says so.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Listing {
    /// In order.
    pub(super) entries: Box<[(Prefix, Said)]>,
    /// Flags of the entry that says that there is a listing.
    pub(super) lengths: u8,
}

/// The value of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) rule: u32,
    pub(super) flags: u8,
}

impl Listing {
    /// From what passes, with the numbers of the rules.
    pub(super) fn new(passing: &BTreeMap<Prefix, u32>) -> Arc<Self> {
        let said = |(&prefix, &rule): (&Prefix, &u32)| (prefix, Said { rule, flags: ALLOW });
        Arc::new(Self {
            entries: passing.iter().map(said).collect(),
            lengths: passing.keys().fold(0, |bits, prefix| bits | prefix.length_bit()),
        })
    }

    /// How many entries of the table it takes for a class.
    pub(super) fn len(&self, class: u32) -> usize {
        self.entries.len() + usize::from(class != ANYBODY)
    }

    /// Its entries in the table.
    pub(super) fn written(&self, set: u32, class: u32) -> impl Iterator<Item = (PolicyKey, Tagged)> {
        let entries = self.entries.iter().map(move |(prefix, said)| {
            let key = prefix.key(set, class);
            (key, Tagged::new(said.rule, said.flags, key.hash()))
        });
        let key = PolicyKey::listing(set, class);
        let listing = (class != ANYBODY).then(|| (key, key.of_lengths(self.lengths)));
        entries.chain(listing)
    }

    /// One entry, as the table holds it.
    pub(super) fn find(&self, key: &PolicyKey) -> Option<Tagged> {
        if *key == PolicyKey::listing(key.set, key.peer) {
            return (key.peer != ANYBODY).then(|| key.of_lengths(self.lengths));
        }
        let prefix = Prefix {
            protocol: key.protocol,
            length: key.length,
            first: key.port.get(),
        };
        let at = self
            .entries
            .binary_search_by_key(&prefix, |&(prefix, _)| prefix)
            .ok()?;
        let said = self.entries[at].1;
        Some(Tagged::new(said.rule, said.flags, key.hash()))
    }
}

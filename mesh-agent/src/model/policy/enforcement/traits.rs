//! What rules can say of a peer.

use std::collections::BTreeSet;

use super::counted::Id;

/// Peers that agree in these are one to all rules in force: they share a class.
///
/// Rules only ever allow: of two peers, the one with more traits is never refused where the other is let through. So a
/// peer whose traits find no room may be read as one with fewer.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Traits {
    /// The terms that match, in order.
    pub(super) terms: Box<[Id]>,
    /// Names of ports in use and the peer's numbers for them, in order.
    pub(super) ports: Box<[(Id, u16)]>,
}

impl Traits {
    pub(super) fn new(mut terms: Vec<Id>, mut ports: Vec<(Id, u16)>) -> Self {
        terms.sort_unstable();
        ports.sort_unstable();
        Self {
            terms: terms.into(),
            ports: ports.into(),
        }
    }

    pub(super) fn has(&self, term: Id) -> bool {
        self.terms.binary_search(&term).is_ok()
    }

    pub(super) fn port(&self, name: Id) -> Option<u16> {
        let at = self.ports.binary_search_by_key(&name, |&(name, _)| name).ok()?;
        Some(self.ports[at].1)
    }

    /// What is left of them for one who looks at nothing else.
    pub(super) fn as_seen(&self, looked_at: &BTreeSet<Id>) -> Self {
        Self {
            terms: self
                .terms
                .iter()
                .copied()
                .filter(|it| looked_at.contains(it))
                .collect(),
            ports: self
                .ports
                .iter()
                .copied()
                .filter(|(it, _)| looked_at.contains(it))
                .collect(),
        }
    }

    /// The terms and names in which two differ.
    pub(super) fn difference(&self, other: &Self) -> Vec<Id> {
        let terms = one_sided(&self.terms, &other.terms).chain(one_sided(&other.terms, &self.terms));
        let ports = one_sided(&self.ports, &other.ports).chain(one_sided(&other.ports, &self.ports));
        terms.copied().chain(ports.map(|&(name, _)| name)).collect()
    }
}

/// What the first has and the second has not; both in order.
fn one_sided<'a, T: Ord>(first: &'a [T], second: &'a [T]) -> impl Iterator<Item = &'a T> {
    first.iter().filter(|it| second.binary_search(it).is_err())
}

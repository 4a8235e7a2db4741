//! What the sets in the kernel's tables look at in peers: their terms and the names of ports.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mesh_common::addr::Addr;
use mesh_common::policy::Transport;

use super::counted::{Counted, Id, Ids};
use super::traits::Traits;
use super::{NamespaceFacts, PodFacts};
use crate::model::object::Labels;
use crate::model::object::network_policy::{Cidr, IpBlock, Peer, Selector};

/// A peer as a rule names it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Term {
    /// The policy's namespace, where it means pods of that one.
    own: Option<Arc<str>>,
    peer: Peer,
}

impl Term {
    pub(super) fn new(namespace: &Arc<str>, peer: &Peer) -> Self {
        let own = matches!(peer, Peer::Pods { namespaces: None, .. });
        Self {
            own: own.then(|| namespace.clone()),
            peer: peer.clone(),
        }
    }
}

/// The name of a port in a rule for egress: its number is a matter of the peer.
pub(super) type PortName = (String, Transport);

/// The terms and names in use, by the number of sets that use them.
#[derive(Clone, Debug, Default)]
pub(super) struct Universe {
    ids: Ids,
    terms: Counted<Term>,
    names: Counted<PortName>,
    selectors: Selectors,
    blocks: Blocks,
    /// Blocks that found no room among the prefixes: they match nobody for now.
    unplaced: BTreeSet<Id>,
    /// What came and what went since [`Self::settle`]: no set in force looks at it.
    fresh: HashSet<Id>,
    gone: HashSet<Id>,
    /// Prefixes at which a block came or went.
    touched: HashSet<Cidr>,
}

/// Room for prefixes, as a plan uses it up.
pub(super) struct PrefixRoom<'a> {
    /// How many more fit.
    pub(super) free: usize,
    /// Those that are in the kernel's table.
    pub(super) there: &'a dyn Fn(&Cidr) -> bool,
}

impl Universe {
    /// One more set looks at a term.
    pub(super) fn acquire_term(&mut self, term: &Term, room: &mut PrefixRoom<'_>) -> Id {
        let (id, first) = self.terms.acquire(term, &mut self.ids);
        if first {
            self.fresh.insert(id);
            match &term.peer {
                Peer::Pods { pods, .. } => self.selectors.add(id, term.own.as_deref(), pods),
                Peer::Block(block) if self.blocks.add(id, block, room) => self.touched.extend(cuts(block)),
                Peer::Block(_) => drop(self.unplaced.insert(id)),
            }
        }
        id
    }

    pub(super) fn acquire_name(&mut self, name: &PortName) -> Id {
        let (id, first) = self.names.acquire(name, &mut self.ids);
        if first {
            self.fresh.insert(id);
        }
        id
    }

    pub(super) fn release_term(&mut self, id: Id) {
        let Some(term) = self.terms.release(id) else {
            return;
        };
        self.gone.insert(id);
        match &term.peer {
            Peer::Pods { pods, .. } => self.selectors.remove(id, term.own.as_deref(), pods),
            Peer::Block(_) if self.unplaced.remove(&id) => {}
            Peer::Block(block) => {
                self.blocks.remove(id, block);
                self.touched.extend(cuts(block));
            }
        }
    }

    pub(super) fn release_name(&mut self, id: Id) {
        if self.names.release(id).is_some() {
            self.gone.insert(id);
        }
    }

    /// Blocks that found no room try again.
    pub(super) fn place_again(&mut self, room: &mut PrefixRoom<'_>) {
        for id in std::mem::take(&mut self.unplaced) {
            let term = self.terms.get(id).cloned();
            let Some(Peer::Block(block)) = term.as_deref().map(|term| &term.peer) else {
                continue;
            };
            if self.blocks.add(id, block, room) {
                self.fresh.insert(id);
                self.touched.extend(cuts(block));
            } else {
                self.unplaced.insert(id);
            }
        }
    }

    /// Whether a block found no room.
    pub(super) fn is_unplaced(&self, term: Id) -> bool {
        self.unplaced.contains(&term)
    }

    /// Prefixes at which a block came or went since the last time this was asked.
    pub(super) fn take_touched(&mut self) -> impl Iterator<Item = Cidr> + use<> {
        std::mem::take(&mut self.touched).into_iter()
    }

    /// What went since the last time.
    pub(super) fn gone(&self) -> &HashSet<Id> {
        &self.gone
    }

    /// Whether a term or name came or went since the last time, so that no set in force looks at it.
    pub(super) fn is_new(&self, id: Id) -> bool {
        self.fresh.contains(&id) || self.gone.contains(&id)
    }

    /// Whether anything came or went since the last time.
    pub(super) fn has_changed(&self) -> bool {
        !self.fresh.is_empty() || !self.gone.is_empty()
    }

    /// From here on all are looked at by sets in force.
    pub(super) fn settle(&mut self) {
        self.fresh.clear();
        self.gone.clear();
    }

    /// What came since the last time, to find whom it is about.
    pub(super) fn newcomers(&self) -> Option<Self> {
        let mut newcomers = Self::default();
        for &id in &self.fresh {
            if let Some(term) = self.terms.get(id) {
                match &term.peer {
                    Peer::Pods { pods, .. } => newcomers.selectors.add(id, term.own.as_deref(), pods),
                    Peer::Block(_) if self.unplaced.contains(&id) => continue,
                    Peer::Block(block) => newcomers.blocks.enter(id, block),
                }
                newcomers.terms.share(id, term);
            } else if let Some(name) = self.names.get(id) {
                newcomers.names.share(id, name);
            }
        }
        let none = newcomers.terms.len() == 0 && newcomers.names.len() == 0;
        (!none).then_some(newcomers)
    }

    /// The terms about pods that match one.
    pub(super) fn selecting(
        &self,
        namespace: &str,
        facts: Option<&NamespaceFacts>,
        labels: &Labels,
    ) -> Vec<Id> {
        let unknown = Labels::default();
        let of_namespace = facts.map_or(&unknown, |facts| &facts.labels);
        let mut selecting = self.selectors.candidates(namespace, labels);
        selecting.retain(
            |&id| match self.terms.get(id).map(|term| (&term.own, &term.peer)) {
                Some((own, Peer::Pods { namespaces, pods })) => {
                    own.as_deref().is_none_or(|own| own == namespace)
                        && namespaces.as_ref().is_none_or(|it| it.matches(of_namespace))
                        && pods.matches(labels)
                }
                _ => false,
            },
        );
        selecting
    }

    /// The names in use that a pod has, with their numbers.
    pub(super) fn ports(&self, pod: &PodFacts) -> Vec<(Id, u16)> {
        let mut ports: Vec<(Id, u16)> = Vec::new();
        for port in &pod.ports {
            if self.names.len() == 0 {
                break;
            }
            // The first of a name and protocol counts.
            let id = self.names.id(&(port.name.clone(), port.transport));
            if let Some(id) = id.filter(|id| ports.iter().all(|(known, _)| known != id)) {
                ports.push((id, port.port));
            }
        }
        ports
    }

    /// The terms about blocks that an address, or a prefix, is a part of.
    pub(super) fn holding(&self, part: &Cidr) -> Vec<Id> {
        self.blocks.holding(part)
    }

    /// What rules can say of a prefix; `None` where no block begins or has a hole there.
    pub(super) fn of_prefix(&self, prefix: &Cidr) -> Option<Traits> {
        let is_cut = self.blocks.cuts.contains_key(prefix);
        is_cut.then(|| Traits::new(self.holding(prefix), Vec::new()))
    }

    /// What rules can say of an address about which only the blocks are known.
    pub(super) fn of_address(&self, addr: &Addr) -> Traits {
        Traits::new(self.holding(&Cidr::host(addr)), Vec::new())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.terms.len() + self.names.len()
    }

    /// All prefixes where a block begins or has a hole.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Cidr> {
        self.blocks.cuts.keys().copied()
    }
}

/// Terms about pods, by what every pod they are about has.
#[derive(Clone, Debug, Default)]
struct Selectors(HashMap<u64, Vec<Id>>);

impl Selectors {
    fn add(&mut self, id: Id, own: Option<&str>, pods: &Selector) {
        for slot in slots(own, pods) {
            self.0.entry(slot).or_default().push(id);
        }
    }

    fn remove(&mut self, id: Id, own: Option<&str>, pods: &Selector) {
        for slot in slots(own, pods) {
            if let Some(ids) = self.0.get_mut(&slot) {
                ids.retain(|&it| it != id);
                if ids.is_empty() {
                    self.0.remove(&slot);
                }
            }
        }
    }

    /// Those that may match; each once.
    fn candidates(&self, namespace: &str, labels: &Labels) -> Vec<Id> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let pairs = || std::iter::once(None).chain(labels.iter().map(Some));
        let keys = [None, Some(namespace)]
            .into_iter()
            .flat_map(|own| pairs().map(move |pair| slot(own, pair)));
        let mut ids: Vec<Id> = keys
            .filter_map(|key| self.0.get(&key))
            .flatten()
            .copied()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

fn slots(own: Option<&str>, pods: &Selector) -> Vec<u64> {
    match pods.pairs() {
        None => vec![slot(own, None)],
        Some(pairs) => pairs.map(|pair| slot(own, Some(pair))).collect(),
    }
}

/// Two that fall together cost a look at both, no more.
fn slot(own: Option<&str>, pair: Option<(&str, &str)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (own, pair).hash(&mut hasher);
    hasher.finish()
}

/// Terms about addresses. Each prefix and each hole cuts the addresses; what the longest prefix around an address is a
/// part of, the address is a part of.
#[derive(Clone, Debug, Default)]
struct Blocks {
    /// By prefix: the blocks that begin, and those that have a hole there.
    cuts: HashMap<Cidr, [Vec<Id>; 2]>,
    /// How many prefixes there are of a length.
    lengths: BTreeMap<u8, usize>,
}

impl Blocks {
    /// Whether it found room; all of it or nothing.
    fn add(&mut self, id: Id, block: &IpBlock, room: &mut PrefixRoom<'_>) -> bool {
        let new = |cut: &&Cidr| !self.cuts.contains_key(cut) && !(room.there)(cut);
        let needed = cuts(block).filter(new).collect::<BTreeSet<_>>().len();
        let Some(free) = room.free.checked_sub(needed) else {
            return false;
        };
        room.free = free;
        self.enter(id, block);
        true
    }

    fn enter(&mut self, id: Id, block: &IpBlock) {
        for (at, cut) in cuts(block).enumerate() {
            let entry = self.cuts.entry(*cut).or_insert_with(|| {
                *self.lengths.entry(cut.length()).or_default() += 1;
                Default::default()
            });
            entry[at.min(1)].push(id);
        }
    }

    fn remove(&mut self, id: Id, block: &IpBlock) {
        for (at, cut) in cuts(block).enumerate() {
            let Some(entry) = self.cuts.get_mut(cut) else {
                continue;
            };
            entry[at.min(1)].retain(|&it| it != id);
            if entry.iter().all(Vec::is_empty) {
                self.cuts.remove(cut);
                forget_length(&mut self.lengths, cut.length());
            }
        }
    }

    /// In no particular order.
    fn holding(&self, part: &Cidr) -> Vec<Id> {
        let around = || {
            let prefixes = self.lengths.keys().filter_map(|&length| part.shortened(length));
            prefixes.filter_map(|prefix| self.cuts.get(&prefix))
        };
        let holes: HashSet<Id> = around().flat_map(|[_, holes]| holes).copied().collect();
        let blocks = around().flat_map(|[blocks, _]| blocks).copied();
        blocks.filter(|it| !holes.contains(it)).collect()
    }
}

/// Counts one less of a length.
pub(super) fn forget_length(lengths: &mut BTreeMap<u8, usize>, length: u8) {
    if let Some(count) = lengths.get_mut(&length) {
        *count -= 1;
        if *count == 0 {
            lengths.remove(&length);
        }
    }
}

/// The prefix, then the holes.
fn cuts(block: &IpBlock) -> impl Iterator<Item = &Cidr> {
    std::iter::once(&block.cidr).chain(&block.except)
}

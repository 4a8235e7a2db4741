//! Policy classes: peers that no rule in force can tell apart.
//!
//! What a rule can say of a peer is that it is one of the rule's [`Term`]s, and, of a named port, which number that is
//! at the peer. So a class is the set of terms that match and the numbers of the names in use: peers that agree in
//! these share it, whatever else they are. Addresses that are no pod's have a class by their longest prefix.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_common::addr::Addr;
use mesh_common::policy::{ANYBODY, Direction, Transport};

use super::index::Index;
use super::{Cluster, Pod};
use crate::model::object::NetworkPolicy;
use crate::model::object::network_policy::{Cidr, IpBlock, Peer, PortRange, Selector};

/// A peer as a rule names it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Term<'a> {
    /// The policy's namespace, where it means pods of that one.
    own: Option<&'a str>,
    peer: &'a Peer,
}

impl<'a> Term<'a> {
    pub(super) fn new(policy: &'a NetworkPolicy, peer: &'a Peer) -> Self {
        let own = matches!(peer, Peer::Pods { namespaces: None, .. });
        Self {
            own: own.then_some(&*policy.name.namespace),
            peer,
        }
    }
}

/// The name of a port in a rule for egress: its number is a matter of the peer.
type PortName<'a> = (&'a str, Transport);

/// What rules can say of a peer.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Traits {
    /// The terms that match, in order.
    terms: Vec<usize>,
    /// Names in use and the peer's numbers for them, in order.
    ports: Vec<(usize, u16)>,
}

/// The class of every address.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// Of pods' addresses.
    pub pods: HashMap<Addr, u32>,
    /// Of all others, by their longest prefix.
    pub cidrs: BTreeMap<Cidr, u32>,
    /// The lengths of the prefixes.
    lengths: BTreeSet<u8>,
}

impl Classes {
    /// The class of an address.
    #[must_use]
    pub fn of(&self, addr: &Addr) -> u32 {
        let host = Cidr::host(addr);
        let shortened = |length: &u8| host.shortened(*length);
        let prefixes = || self.lengths.iter().rev().filter_map(shortened);
        let by_prefix = || prefixes().find_map(|prefix| self.cidrs.get(&prefix));
        let class = self.pods.get(addr).or_else(by_prefix);
        class.copied().unwrap_or(ANYBODY)
    }

    /// How many classes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let all = self.pods.values().chain(self.cidrs.values());
        all.collect::<BTreeSet<_>>().len()
    }
}

/// The classes of a cluster, and which of them each rule is about.
pub(super) struct Divided<'a> {
    pub(super) classes: Classes,
    by_term: HashMap<Term<'a>, Vec<u32>>,
    by_port: HashMap<PortName<'a>, Vec<(u32, u16)>>,
}

impl<'a> Divided<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        let policies = || cluster.policies.values().map(AsRef::as_ref);
        let terms = numbered(policies().flat_map(terms));
        let names = numbered(policies().flat_map(port_names));
        let selectors = Selectors::new(cluster, &terms);
        let blocks = Blocks::new(&terms);

        let mut numbers: HashMap<Traits, u32> = HashMap::new();
        let mut number = |traits: Traits| {
            let next = u32::try_from(numbers.len() + 1).unwrap_or(ANYBODY);
            *numbers.entry(traits).or_insert(next)
        };
        let mut classes = Classes::default();
        for pod in &cluster.pods {
            let selected = selectors.of(pod);
            let port = |(at, &(name, transport))| Some((at, pod.named_port(name, transport)?));
            let ports: Vec<_> = names.iter().enumerate().filter_map(port).collect();
            for addr in &pod.addresses {
                let mut terms = [&selected[..], &blocks.holding(&Cidr::host(addr))].concat();
                terms.sort_unstable();
                let traits = Traits {
                    terms,
                    ports: ports.clone(),
                };
                let class = number(traits);
                // Of two pods at one address, neither is known to be there.
                classes
                    .pods
                    .entry(*addr)
                    .and_modify(|it| *it = ANYBODY)
                    .or_insert(class);
            }
        }
        for prefix in blocks.prefixes() {
            let terms = blocks.holding(&prefix);
            let class = number(Traits { terms, ports: vec![] });
            classes.cidrs.insert(prefix, class);
        }
        classes.lengths = blocks.lengths;

        let mut by_term: HashMap<_, Vec<_>> = HashMap::new();
        let mut by_port: HashMap<_, Vec<_>> = HashMap::new();
        for (traits, class) in numbers {
            for term in traits.terms {
                by_term.entry(terms[term]).or_default().push(class);
            }
            for (name, port) in traits.ports {
                by_port.entry(names[name]).or_default().push((class, port));
            }
        }
        Self {
            classes,
            by_term,
            by_port,
        }
    }

    /// The classes of a rule's peers.
    pub(super) fn of_peers(&self, policy: &'a NetworkPolicy, peers: &'a [Peer]) -> BTreeSet<u32> {
        let terms = peers.iter().map(|peer| Term::new(policy, peer));
        let classes = terms.filter_map(|term| self.by_term.get(&term));
        classes.flatten().copied().collect()
    }

    /// The classes whose pods have a port of that name, and its number.
    pub(super) fn of_port(&self, name: &'a str, transport: Transport) -> &[(u32, u16)] {
        self.by_port.get(&(name, transport)).map_or(&[], Vec::as_slice)
    }
}

/// Each once, in the order in which they come first.
fn numbered<T: Copy + Eq + std::hash::Hash>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    all.filter(|it| seen.insert(*it)).collect()
}

fn terms(policy: &NetworkPolicy) -> impl Iterator<Item = Term<'_>> {
    let rules = Direction::ALL
        .into_iter()
        .filter_map(|direction| policy.rules(direction));
    let peers = rules.flatten().flat_map(|rule| &rule.peers);
    peers.map(|peer| Term::new(policy, peer))
}

/// Names in rules for ingress are those of the pod that the rules belong to.
fn port_names(policy: &NetworkPolicy) -> impl Iterator<Item = PortName<'_>> {
    let ports = policy.egress.iter().flatten().flat_map(|rule| &rule.ports);
    ports.filter_map(|port| match &port.range {
        PortRange::Named(name) => Some((name.as_str(), port.transport)),
        PortRange::All | PortRange::Numbers { .. } => None,
    })
}

/// The terms that are about pods.
struct Selectors<'a> {
    terms: &'a [Term<'a>],
    index: Index<'a>,
    /// By namespace and selector of namespaces: a few of each, and asked for with every pod.
    in_scope: HashMap<&'a str, BTreeSet<&'a Selector>>,
}

impl<'a> Selectors<'a> {
    fn new(cluster: &'a Cluster, terms: &'a [Term<'a>]) -> Self {
        let about_pods = terms.iter().enumerate().filter_map(|(at, term)| match term.peer {
            Peer::Pods { pods, .. } => Some((at, term.own, pods)),
            Peer::Block(_) => None,
        });
        let scopes: BTreeSet<_> = terms.iter().filter_map(|term| scope(term.peer)).collect();
        let namespaces: BTreeSet<_> = cluster.pods.iter().map(|pod| &*pod.name.namespace).collect();
        let in_scope = namespaces.into_iter().map(|namespace| {
            let selected = |selector: &&Selector| cluster.selects_namespace(selector, namespace);
            (namespace, scopes.iter().copied().filter(selected).collect())
        });
        Self {
            terms,
            index: Index::new(about_pods),
            in_scope: in_scope.collect(),
        }
    }

    fn of(&self, pod: &Pod) -> Vec<usize> {
        let namespace = &*pod.name.namespace;
        let in_scope = |selector| {
            self.in_scope
                .get(namespace)
                .is_some_and(|it| it.contains(selector))
        };
        let mut selecting: Vec<_> = self.index.candidates(namespace, &pod.labels).collect();
        selecting.retain(|&term| match self.terms[term].peer {
            Peer::Pods { namespaces, pods } => {
                namespaces.as_ref().is_none_or(in_scope) && pods.matches(&pod.labels)
            }
            Peer::Block(_) => false,
        });
        selecting
    }
}

fn scope(peer: &Peer) -> Option<&Selector> {
    match peer {
        Peer::Pods { namespaces, .. } => namespaces.as_ref(),
        Peer::Block(_) => None,
    }
}

/// The terms that are about addresses. Each prefix and each hole cuts the addresses; what the longest prefix around an
/// address is a part of, the address is a part of.
struct Blocks {
    /// By prefix: the blocks that begin, and those that have a hole there.
    cuts: BTreeMap<Cidr, [Vec<usize>; 2]>,
    /// The lengths of the prefixes.
    lengths: BTreeSet<u8>,
}

impl Blocks {
    fn new(terms: &[Term<'_>]) -> Self {
        // Every address lies in one, so that each has a class; IPv4 never in what is of IPv6.
        let mut cuts: BTreeMap<_, [Vec<_>; 2]> = Cidr::ALL.map(|all| (all, Default::default())).into();
        for (at, term) in terms.iter().enumerate() {
            let Peer::Block(IpBlock { cidr, except }) = term.peer else {
                continue;
            };
            cuts.entry(*cidr).or_default()[0].push(at);
            for hole in except {
                cuts.entry(*hole).or_default()[1].push(at);
            }
        }
        let lengths = cuts.keys().map(Cidr::length).collect();
        Self { cuts, lengths }
    }

    fn prefixes(&self) -> impl Iterator<Item = Cidr> {
        self.cuts.keys().copied()
    }

    /// The blocks that a prefix, or an address, is a part of, in order.
    fn holding(&self, part: &Cidr) -> Vec<usize> {
        let around = || {
            let prefixes = self.lengths.iter().filter_map(|&length| part.shortened(length));
            prefixes.filter_map(|prefix| self.cuts.get(&prefix))
        };
        let holes: BTreeSet<_> = around().flat_map(|[_, holes]| holes).collect();
        let blocks = around().flat_map(|[blocks, _]| blocks);
        let mut holding: Vec<_> = blocks.filter(|it| !holes.contains(it)).copied().collect();
        holding.sort_unstable();
        holding
    }
}

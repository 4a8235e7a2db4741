//! The policies read directly, as the documentation of `networking.k8s.io/v1` has it. Slow and plain: what the tables
//! are held against, and what explains them.
//!
//! Where the documentation is silent: named ports are those of the destination pod, however a rule selects it, and no
//! address outside has one. A rule without ports also lets pass what has no ports.

use mesh_common::addr::Addr;
use mesh_common::policy::Direction;

use super::{Cluster, Owner, Pod, Question, RuleRef, Side, Verdict};
use crate::model::object::NetworkPolicy;
use crate::model::object::network_policy::{Peer, PortRange, PortRule, Rule};

/// What both ends say to a flow.
#[must_use]
pub fn judge(cluster: &Cluster, question: &Question) -> Verdict {
    question.ask(|direction, pod, other| {
        let Some(pod) = cluster.pods.get(pod) else {
            return Side::NoPod;
        };
        if isolating(cluster, pod, direction).next().is_none() {
            return Side::Open;
        }
        let first = allowing(cluster, pod, direction, other, question).next();
        first.map_or(Side::Isolated, Side::Allowed)
    })
}

/// The policies that isolate a pod in a direction.
pub fn isolating<'a>(
    cluster: &'a Cluster,
    pod: &'a Pod,
    direction: Direction,
) -> impl Iterator<Item = &'a NetworkPolicy> {
    let policies = cluster.policies.values().map(AsRef::as_ref);
    policies.filter(move |policy| {
        policy.name.namespace == pod.name.namespace
            && policy.rules(direction).is_some()
            && policy.pods.matches(&pod.labels)
    })
}

/// The rules of a pod that let a flow with an address pass.
pub fn allowing<'a>(
    cluster: &'a Cluster,
    pod: &'a Pod,
    direction: Direction,
    other: Addr,
    question: &'a Question,
) -> impl Iterator<Item = RuleRef> {
    let end = Other::of(cluster, pod, direction, other);
    isolating(cluster, pod, direction).flat_map(move |policy| {
        let rules = policy.rules(direction).into_iter().flatten();
        let matching = rules.filter(move |rule| end.matches(policy, rule, question) == [true; 2]);
        matching.map(move |rule| RuleRef {
            policy: policy.name.clone(),
            direction,
            index: rule.index,
        })
    })
}

/// The other end of a flow, as the rules of a pod see it.
#[derive(Clone, Copy)]
pub(super) struct Other<'a> {
    cluster: &'a Cluster,
    addr: Addr,
    owner: Owner<'a>,
    /// Whose named ports count.
    destination: Option<&'a Pod>,
}

impl<'a> Other<'a> {
    pub(super) fn of(cluster: &'a Cluster, pod: &'a Pod, direction: Direction, addr: Addr) -> Self {
        let owner = cluster.owner(&addr);
        let destination = match (direction, owner) {
            (Direction::Ingress, _) => Some(pod),
            (Direction::Egress, Owner::Pod(peer)) => Some(peer),
            (Direction::Egress, Owner::Nobody | Owner::Unsettled) => None,
        };
        Self {
            cluster,
            addr,
            owner,
            destination,
        }
    }

    /// Whether a rule is about this peer, and whether about the port.
    pub(super) fn matches(&self, policy: &NetworkPolicy, rule: &Rule, question: &Question) -> [bool; 2] {
        [
            peers_match(self.cluster, policy, rule, self.owner, &self.addr),
            ports_match(rule, question, self.destination),
        ]
    }
}

fn peers_match(
    cluster: &Cluster,
    policy: &NetworkPolicy,
    rule: &Rule,
    owner: Owner<'_>,
    addr: &Addr,
) -> bool {
    let matches = |peer: &Peer| match (peer, owner) {
        (_, Owner::Unsettled) | (Peer::Pods { .. }, Owner::Nobody) => false,
        (Peer::Block(block), _) => block.contains(addr),
        (Peer::Pods { namespaces, pods }, Owner::Pod(pod)) => {
            let namespace = &pod.name.namespace;
            let in_scope = match namespaces {
                None => *namespace == policy.name.namespace,
                Some(selector) => cluster.selects_namespace(selector, namespace),
            };
            in_scope && pods.matches(&pod.labels)
        }
    };
    rule.peers.is_empty() || rule.peers.iter().any(matches)
}

fn ports_match(rule: &Rule, question: &Question, destination: Option<&Pod>) -> bool {
    let matches = |it: &PortRule| {
        let port = match &it.range {
            PortRange::All => true,
            PortRange::Numbers { first, last } => (*first..=*last).contains(&question.port),
            PortRange::Named(name) => {
                destination.and_then(|pod| pod.named_port(name, it.transport)) == Some(question.port)
            }
        };
        it.transport as u8 == question.protocol && port
    };
    rule.ports.is_empty() || rule.ports.iter().any(matches)
}

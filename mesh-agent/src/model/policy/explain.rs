//! Why a flow passes or does not, in full: every policy that isolates either end, and of each of its rules what in it is
//! about this flow and what is not.

mod kernel;
#[cfg(test)]
mod tests;

use mesh_common::addr::Addr;
use mesh_common::policy::Direction;

use super::reference::{self, Other, isolating};
use super::{Cluster, Question, RuleRef, Side, Source, Verdict};
use crate::model::object::NetworkPolicy;

pub use kernel::{Kernel, Said, agrees};

/// What both ends say, and why.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// What they say.
    pub verdict: Verdict,
    /// The policies that isolate the source, with their rules for what it sends; none where that does not matter.
    pub egress: Vec<Isolating<'a>>,
    /// The policies that isolate the destination, with their rules for what comes to it.
    pub ingress: Vec<Isolating<'a>>,
}

/// A policy that isolates a pod.
#[derive(Clone, Debug)]
pub struct Isolating<'a> {
    /// The policy.
    pub policy: &'a NetworkPolicy,
    /// Its rules in the direction, in their order.
    pub rules: Vec<Tried>,
}

/// A rule, held against a flow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tried {
    /// The rule.
    pub rule: RuleRef,
    /// Whether it is about the other end.
    pub peer: bool,
    /// Whether it is about the protocol and port.
    pub port: bool,
}

impl Tried {
    /// Whether it lets the flow pass.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.peer && self.port
    }
}

impl Explanation<'_> {
    /// What one end says.
    #[must_use]
    pub const fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Ingress => &self.verdict.ingress,
            Direction::Egress => &self.verdict.egress,
        }
    }

    /// The policies that isolate one end.
    #[must_use]
    pub fn isolating(&self, direction: Direction) -> &[Isolating<'_>] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// The rules of one end that let the flow pass.
    pub fn allowing(&self, direction: Direction) -> impl Iterator<Item = &RuleRef> {
        let rules = self.isolating(direction).iter().flat_map(|it| &it.rules);
        rules.filter(|tried| tried.passes()).map(|tried| &tried.rule)
    }
}

/// Explains what [`reference::judge`] says.
#[must_use]
pub fn explain<'a>(cluster: &'a Cluster, question: &Question) -> Explanation<'a> {
    let verdict = reference::judge(cluster, question);
    let tried = |direction, side: &Side| {
        let ends = ends(question, direction).filter(|_| matches!(side, Side::Allowed(_) | Side::Isolated));
        ends.map(|(pod, other)| policies(cluster, direction, pod, other, question))
    };
    Explanation {
        egress: tried(Direction::Egress, &verdict.egress).unwrap_or_default(),
        ingress: tried(Direction::Ingress, &verdict.ingress).unwrap_or_default(),
        verdict,
    }
}

/// The pod whose rules count in a direction, and the address of the other end.
fn ends(question: &Question, direction: Direction) -> Option<(usize, Addr)> {
    let Source::Party(from) = question.from else {
        return None;
    };
    let (own, other) = match direction {
        Direction::Egress => (from, question.to),
        Direction::Ingress => (question.to, from),
    };
    Some((own.pod?, other.addr))
}

fn policies<'a>(
    cluster: &'a Cluster,
    direction: Direction,
    pod: usize,
    other: Addr,
    question: &Question,
) -> Vec<Isolating<'a>> {
    let Some(pod) = cluster.pods.get(pod) else {
        return Vec::new();
    };
    let other = Other::of(cluster, pod, direction, other);
    let rules = |policy: &'a NetworkPolicy| {
        let rules = policy.rules(direction).into_iter().flatten();
        rules.map(move |rule| {
            let [peer, port] = other.matches(policy, rule, question);
            let rule = RuleRef {
                policy: policy.name.clone(),
                direction,
                index: rule.index,
            };
            Tried { rule, peer, port }
        })
    };
    isolating(cluster, pod, direction)
        .map(|policy| Isolating {
            policy,
            rules: rules(policy).collect(),
        })
        .collect()
}

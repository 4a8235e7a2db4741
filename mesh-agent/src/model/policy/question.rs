//! What is asked, and what can be said.

use std::fmt;
use std::net::IpAddr;

use mesh_common::addr::Addr;
use mesh_common::policy::Direction;

use crate::model::desired::ObjectName;

/// May this flow be opened?
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Who opens it.
    pub from: Source,
    /// Who is asked; of a Service, the chosen backend.
    pub to: Party,
    /// IANA number of the protocol.
    pub protocol: u8,
    /// Destination port; 0 where the protocol has none.
    pub port: u16,
}

/// Who opens a flow.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A socket of this node itself.
    Host,
    /// Anybody else.
    Party(Party),
}

/// An end of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// Place in [`super::Cluster::pods`] of the pod whose socket it is, as its network namespace tells. The other end
    /// knows it by its address only.
    pub pod: Option<usize>,
    /// Its address.
    pub addr: Addr,
}

/// Names a rule.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RuleRef {
    /// The policy.
    pub policy: ObjectName,
    /// The list it is in.
    pub direction: Direction,
    /// Its place in the list.
    pub index: usize,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]", self.policy, self.direction.name(), self.index)
    }
}

/// What both ends say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The source's policies.
    pub egress: Side,
    /// The destination's policies.
    pub ingress: Side,
}

/// What one end says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Side {
    /// Nothing: it is no pod.
    NoPod,
    /// Nothing: policies don't matter for such a flow.
    Exempt(Exemption),
    /// It passes: no policy selects the pod in this direction.
    Open,
    /// It passes: this rule says so.
    Allowed(RuleRef),
    /// It does not pass: policies select the pod, and no rule of theirs matches.
    Isolated,
}

/// Why policies don't matter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exemption {
    /// This node's own sockets reach its pods (`NetworkPolicySpec`: "the traffic source is the pod's local node").
    Host,
    /// A pod reaches itself.
    Itself,
}

impl Side {
    /// Whether this end lets it pass.
    #[must_use]
    pub const fn passes(&self) -> bool {
        !matches!(self, Self::Isolated)
    }
}

impl Verdict {
    /// Whether the flow passes.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.egress.passes() && self.ingress.passes()
    }
}

impl Question {
    /// Asks both ends. `side` is called for pods whose policies matter, with the pod, and the address of the other end.
    pub(super) fn ask(&self, side: impl Fn(Direction, usize, Addr) -> Side) -> Verdict {
        let exempt = |exemption| Verdict {
            egress: Side::Exempt(exemption),
            ingress: Side::Exempt(exemption),
        };
        let Source::Party(from) = self.from else {
            return exempt(Exemption::Host);
        };
        let same_pod = from.pod.is_some() && from.pod == self.to.pod;
        if same_pod || IpAddr::from(self.to.addr).is_loopback() {
            return exempt(Exemption::Itself);
        }
        let ask = |direction, party: Party, other: Party| {
            party
                .pod
                .map_or(Side::NoPod, |pod| side(direction, pod, other.addr))
        };
        Verdict {
            egress: ask(Direction::Egress, from, self.to),
            ingress: ask(Direction::Ingress, self.to, from),
        }
    }
}

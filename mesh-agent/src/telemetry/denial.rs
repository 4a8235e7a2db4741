//! What a network policy had to do with a flow, as flow records tell it.

use std::borrow::Cow;

use clap::ValueEnum;
use mesh_common::{
    flow::EventKind,
    names::denial,
    policy::{Denial, Direction, Hook, Reason, Transport},
    rules::NOTHING,
};
use serde::{Deserialize, Serialize};

use super::names::Directory;

/// What policies said of a flow, where they did not let it pass.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was refused.
    Denied,
    /// It passed, since the namespace is in audit mode.
    Audited,
}

impl Verdict {
    /// What an event says.
    #[must_use]
    pub const fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Denied => Some(Self::Denied),
            EventKind::Audited => Some(Self::Audited),
            _ => None,
        }
    }

    /// What flow records call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => denial::DENIED,
            Self::Audited => denial::AUDITED,
        }
    }
}

/// What refused a flow, or would have. No rule did: that none lets it pass is what refuses it, so the policies are named
/// that isolate the pod.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Refusal {
    /// `egress` or `ingress`.
    pub direction: String,
    /// Whose policies they are: `source` or `destination`.
    pub end: String,
    /// Where it was refused: `socket`, `listener` or `packet`.
    pub hook: String,
    /// The policies that isolate the pod in this direction, as `namespace/name`; none where nobody knows.
    pub policies: Vec<String>,
    /// Number of the rule set in the kernel.
    pub set: u32,
}

impl Refusal {
    /// What an event says of it; `None` for one that policies had nothing to do with, or that says what this version does
    /// not know.
    #[must_use]
    pub fn of(kind: EventKind, denial: &Denial, names: &Directory) -> Option<Self> {
        Verdict::of(kind)?;
        let direction = Direction::from_number(denial.direction)?;
        let hook = Hook::from_number(denial.hook)?;
        let policies = names.policy_sets.get(&denial.set);
        Some(Self {
            direction: direction.name().to_owned(),
            end: end(direction).to_owned(),
            hook: hook.name().to_owned(),
            policies: policies.cloned().unwrap_or_default(),
            set: denial.set,
        })
    }
}

/// Why it was refused, as one word.
#[must_use]
pub fn reason(refused: &Denial) -> &'static str {
    match Reason::from_number(refused.reason) {
        Some(Reason::Policy) if refused.set == NOTHING => denial::NO_ROOM,
        // Whatever a newer program's reason is, it was told by what policies do.
        reason => reason.unwrap_or(Reason::Policy).name(),
    }
}

/// The end whose policies count in a direction.
const fn end(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "source",
        Direction::Ingress => "destination",
    }
}

/// The name of a protocol by its IANA number; the number where it has none here.
#[must_use]
pub fn protocol(number: u32) -> Cow<'static, str> {
    const ICMP: u32 = 1;
    const ICMPV6: u32 = 58;
    let transport = Transport::ALL.into_iter().find(|it| *it as u32 == number);
    match (transport, number) {
        (Some(transport), _) => transport.name().into(),
        (None, ICMP) => "ICMP".into(),
        (None, ICMPV6) => "ICMPv6".into(),
        (None, other) => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Directory {
        Directory {
            policy_sets: [(5, vec!["shop/deny".to_owned(), "shop/web".to_owned()])].into(),
            ..Directory::default()
        }
    }

    fn refused(set: u32, direction: Direction, hook: Hook) -> Denial {
        Denial {
            set,
            direction: direction as u8,
            hook: hook as u8,
            ..Denial::default()
        }
    }

    #[test]
    fn the_policies_of_the_set_are_named_and_whose_they_are() {
        for (direction, hook, says) in [
            (Direction::Egress, Hook::Socket, ["egress", "source", "socket"]),
            (
                Direction::Ingress,
                Hook::Listener,
                ["ingress", "destination", "listener"],
            ),
            (
                Direction::Ingress,
                Hook::Packet,
                ["ingress", "destination", "packet"],
            ),
        ] {
            let refusal = Refusal::of(EventKind::Denied, &refused(5, direction, hook), &names()).unwrap();
            assert_eq!(
                [&*refusal.direction, &*refusal.end, &*refusal.hook],
                says,
                "{direction:?}"
            );
            assert_eq!(refusal.policies, ["shop/deny", "shop/web"]);
        }
    }

    #[test]
    fn a_set_that_nobody_knows_names_nobody() {
        let unnamed = refused(6, Direction::Egress, Hook::Socket);
        let refusal = Refusal::of(EventKind::Audited, &unnamed, &names()).unwrap();
        assert_eq!((refusal.set, refusal.policies.len()), (6, 0));
    }

    #[test]
    fn only_refusals_by_policy_have_one() {
        let known = refused(5, Direction::Egress, Hook::Socket);
        assert_eq!(Refusal::of(EventKind::Closed, &known, &names()), None);
        let unknown = Denial { hook: 9, ..known };
        assert_eq!(Refusal::of(EventKind::Denied, &unknown, &names()), None);
    }

    #[test]
    fn the_reason_is_one_word() {
        let of = |set, why| {
            reason(&Denial {
                reason: why,
                ..refused(set, Direction::Egress, Hook::Socket)
            })
        };
        assert_eq!([of(5, 0), of(NOTHING, 0)], [denial::POLICY, denial::NO_ROOM]);
        assert_eq!(
            [of(0, 1), of(0, 2), of(5, 99)],
            ["spoofed", "unreadable", "policy"]
        );
    }

    #[test]
    fn protocols_have_their_names_or_their_numbers() {
        assert_eq!(
            [6, 17, 132, 1, 58, 47].map(protocol),
            ["TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "47"]
        );
    }
}

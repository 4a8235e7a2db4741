//! Policies as the kernel tables hold them: rule sets, peer classes and ports by prefix.
//!
//! A *rule set* belongs to pods of this node that the same rules apply to, in one direction. A *class* is what a peer
//! is to rules: peers that no rule in force can tell apart share one. Sets are never changed: a change writes another.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::Port;
use crate::names::denial;
use crate::tag::{Tagged, mix};

/// The way of a flow, seen from the pod that a rule set belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Direction {
    /// What others send to the pod first.
    Ingress = 0,
    /// What the pod sends to others first.
    Egress = 1,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// From its number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Ingress),
            1 => Some(Self::Egress),
            _ => None,
        }
    }

    /// The name of its rules in a `NetworkPolicy`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// A protocol that rules can name, by its IANA number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Transport {
    /// `IPPROTO_TCP`.
    Tcp = 6,
    /// `IPPROTO_UDP`.
    Udp = 17,
    /// `IPPROTO_SCTP`.
    Sctp = 132,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The name Kubernetes uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// Number of the rule set of pods that no policy selects in a direction: all passes.
pub const OPEN: u32 = 0;

/// Class of peers about which nothing is known, or nothing for certain: rules that name no peers apply to them, and
/// no others. Every rule set has those rules under this class.
pub const ANYBODY: u32 = 0;

/// [`PolicyKey::protocol`] of every protocol that no rule can name: these have no ports.
pub const OTHER_PROTOCOL: u8 = 0;

/// [`PolicyKey::protocol`] of the entry that says that a set has rules of its own for a class (IANA: reserved).
const LISTING: u8 = 255;

/// Lengths of the prefixes that ranges of ports are cut into, in bits, longest first. Bit n of a listing's flags says
/// that entries of the n-th length are there.
pub const LENGTHS: [u8; 5] = [16, 12, 8, 4, 0];

/// The most look-ups one judgement takes: the listing, and each length once.
pub const PROBES: usize = 1 + LENGTHS.len();

/// Flag of an entry that lets pass. One without it does not.
pub const ALLOW: u8 = 1;

/// Key of the rules: who may be reached, or may come, over which ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PolicyKey {
    /// The rule set.
    pub set: u32,
    /// Class of the peer.
    pub peer: u32,
    /// The first port of the prefix.
    pub port: Port,
    /// Length of the prefix in bits, one of [`LENGTHS`].
    pub length: u8,
    /// IANA number of the protocol, or [`OTHER_PROTOCOL`].
    pub protocol: u8,
}

impl PolicyKey {
    /// Key of the entry that holds for a port of a protocol, among those of a length. Protocols by IANA number.
    #[must_use]
    #[inline(always)]
    pub const fn new(set: u32, peer: u32, protocol: u8, port: Port, length: u8) -> Self {
        let named = protocol == Transport::Tcp as u8
            || protocol == Transport::Udp as u8
            || protocol == Transport::Sctp as u8;
        let (protocol, port) = if named {
            (protocol, port.get())
        } else {
            (OTHER_PROTOCOL, 0)
        };
        Self {
            set,
            peer,
            port: Port::new(port & prefix_mask(length)),
            length,
            protocol,
        }
    }

    /// Key of the entry that says that a set has rules of its own for a class, and by its flags of which lengths.
    /// These contain the rules for [`ANYBODY`].
    #[must_use]
    #[inline(always)]
    pub const fn listing(set: u32, peer: u32) -> Self {
        Self {
            set,
            peer,
            port: Port::new(0),
            length: 0,
            protocol: LISTING,
        }
    }

    /// What its value is checked with.
    #[must_use]
    #[inline(always)]
    pub const fn hash(&self) -> u64 {
        let ports = (self.port.get() as u64) << 16 | (self.length as u64) << 8 | self.protocol as u64;
        mix(mix(0, (self.set as u64) << 32 | self.peer as u64), ports)
    }

    /// An entry that lets pass what this key stands for, with the rule that says so.
    #[must_use]
    pub const fn allowing(&self, rule: u32) -> Tagged {
        Tagged::new(rule, ALLOW, self.hash())
    }

    /// The value of a [`PolicyKey::listing`].
    #[must_use]
    pub const fn of_lengths(&self, lengths: u8) -> Tagged {
        Tagged::new(0, lengths, self.hash())
    }
}

/// Where and by what a flow was refused, in its event.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Denial {
    /// Number of the rule set.
    pub set: u32,
    /// [`Direction`] as a number: whose rules they are, those of the end that was asked or of the one that asked.
    pub direction: u8,
    /// [`Hook`] as a number.
    pub hook: u8,
    /// [`Reason`] as a number.
    pub reason: u8,
    /// Always 0.
    pub reserved: u8,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Reason {
    /// No rule lets it pass.
    Policy = 0,
    /// It came out of a pod with an address that is not the pod's.
    Spoofed = 1,
    /// It can't be read as far as a verdict needs: another protocol than IP, a header that is cut off, pieces without
    /// their first.
    Unreadable = 2,
}

impl Reason {
    /// From its number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Policy),
            1 => Some(Self::Spoofed),
            2 => Some(Self::Unreadable),
            _ => None,
        }
    }

    /// Its name for users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Spoofed => "spoofed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Where a verdict fell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Hook {
    /// `connect()`, `sendto()`, `sendmsg()`: the caller gets an error.
    Socket = 0,
    /// At the listener's network namespace, before the handshake: the peer gets a reset.
    Listener = 1,
    /// At the host end of the pod's interface: the packet is gone.
    Packet = 2,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Socket, Self::Listener, Self::Packet];

    /// From its number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Socket),
            1 => Some(Self::Listener),
            2 => Some(Self::Packet),
            _ => None,
        }
    }

    /// What flow records call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => denial::SOCKET,
            Self::Listener => denial::LISTENER,
            Self::Packet => denial::PACKET,
        }
    }
}

/// The bits of a port that a prefix of that length fixes.
#[must_use]
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "shifted so that sixteen bits are left"
)]
pub const fn prefix_mask(length: u8) -> u16 {
    (0xffff_0000_u32 >> length) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_what_they_stand_for() {
        for direction in Direction::ALL {
            assert_eq!(Direction::from_number(direction as u8), Some(direction));
        }
        for hook in Hook::ALL {
            assert_eq!(Hook::from_number(hook as u8), Some(hook));
        }
        assert_eq!((Direction::from_number(2), Hook::from_number(3)), (None, None));
    }

    #[test]
    fn prefixes_fix_their_first_bits() {
        assert_eq!(LENGTHS.map(prefix_mask), [0xffff, 0xfff0, 0xff00, 0xf000, 0]);
        let key = PolicyKey::new(1, 2, 6, Port::new(0x1234), 12);
        assert_eq!((key.port.get(), key.protocol), (0x1230, 6));
    }

    #[test]
    fn protocols_that_no_rule_can_name_are_one_and_have_no_ports() {
        let icmp = PolicyKey::new(1, 2, 1, Port::new(0x0800), 16);
        assert_eq!(icmp, PolicyKey::new(1, 2, 58, Port::new(0), 16));
        assert_ne!(icmp, PolicyKey::new(1, 2, 6, Port::new(0), 16));
        // Reserved numbers on the wire are no way to an entry that is not theirs.
        assert_eq!(icmp, PolicyKey::new(1, 2, LISTING, Port::new(0), 16));
    }

    #[test]
    fn every_field_counts_in_the_check() {
        let keys = [
            PolicyKey::listing(1, 2),
            PolicyKey::listing(2, 1),
            PolicyKey::new(1, 2, 0, Port::new(0), 0),
            PolicyKey::new(1, 2, 6, Port::new(0), 0),
            PolicyKey::new(1, 2, 17, Port::new(0), 0),
            PolicyKey::new(1, 2, 6, Port::new(0), 16),
            PolicyKey::new(1, 2, 6, Port::new(80), 16),
        ];
        for (index, key) in keys.iter().enumerate() {
            for (other, value) in keys.iter().map(|key| key.allowing(7)).enumerate() {
                assert_eq!(value.belongs_to(key.hash()), index == other);
            }
        }
    }
}

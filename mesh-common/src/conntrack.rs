//! Flows that a pod's policies have let pass, so that what belongs to them and what answers passes, too.
//!
//! Nobody but the programs writes these tables, and they need no agent: entries are told to be over by their time or by
//! the connection's end, and the kernel evicts the one that was idle longest. An entry that is gone means that the next
//! packet is judged anew.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::{Addr, Port};
use crate::tag::{Tagged, hash_addr, mix};

/// Key of `CT_ANY` and `CT_TCP`: a flow of a pod of this node, named from the pod's point of view. Its own address is not
/// part of it: it has one of the family, and whose packets these are is known before.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct TrackKey {
    /// Workload id of the pod.
    pub pod: u32,
    /// Address of the other end.
    pub remote: Addr,
    /// The pod's port; 0 where the protocol has none.
    pub local_port: Port,
    /// The other end's port; 0 where the protocol has none.
    pub remote_port: Port,
    /// IANA number of the protocol.
    pub protocol: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

impl TrackKey {
    /// What its value is checked with.
    #[must_use]
    #[inline(always)]
    pub const fn hash(&self) -> u64 {
        let ports = (self.local_port.get() as u64) << 24
            | (self.remote_port.get() as u64) << 8
            | self.protocol as u64;
        mix(mix(hash_addr(&self.remote), self.pod as u64), ports)
    }

    /// What is remembered of this flow: [`crate::config::Config::policy`] when it was judged, and bits of [`flag`]. The
    /// value of `CT_TCP`, and part of that of `CT_ANY`.
    #[must_use]
    #[inline(always)]
    pub const fn judged(&self, policy: u32, flags: u8) -> Tagged {
        Tagged::new(policy, flags, self.hash())
    }
}

/// Value of `CT_ANY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Tracked {
    /// When a packet of it was last seen, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// Its [`TrackKey::judged`].
    pub judged: Tagged,
}

/// Flags of [`TrackKey::judged`].
pub mod flag {
    /// The other end opened it; else the pod did.
    pub const BY_PEER: u8 = 1;
    /// The other end is a socket of the pod's own host: no policy is asked, whatever changes.
    pub const HOST: u8 = 1 << 1;
    /// The policies refused it, and it passed since the pod's namespace is in audit mode.
    pub const AUDITED: u8 = 1 << 2;
    /// TCP: the policies refused it. Nothing leaves the pod but a reset.
    pub const REFUSED: u8 = 1 << 3;
    /// TCP: the pod has sent all it had.
    pub const FIN_BY_POD: u8 = 1 << 4;
    /// TCP: the other end has sent all it had.
    pub const FIN_BY_PEER: u8 = 1 << 5;
}

/// How long a flow without a connection is remembered after its last packet, in nanoseconds: as long as a resolver waits
/// for an answer, many times over.
pub const IDLE_NS: u64 = 60_000_000_000;

/// A flow's time is written again when it is older than this, in nanoseconds: a packet that only passes writes nothing.
pub const REFRESH_NS: u64 = 1_000_000_000;

impl Tracked {
    /// Whether it is not over.
    #[must_use]
    #[inline(always)]
    pub const fn is_alive(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) < IDLE_NS
    }
}

/// Key of `FRAGMENTS`: a packet in pieces, of which only the first says its ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct FragmentKey {
    /// Workload id of the pod at whose interface it passed.
    pub pod: u32,
    /// Its source.
    pub source: Addr,
    /// Its destination.
    pub destination: Addr,
    /// Its identification; of IPv4 with the protocol above it.
    pub id: u32,
    /// [`crate::policy::Direction`] as a number.
    pub direction: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

/// How long the pieces of a packet may follow the first, in nanoseconds: as long as Linux waits for them (RFC 8200, 4.5,
/// allows twice that).
pub const FRAGMENT_NS: u64 = 30_000_000_000;

/// Value of `QUOTAS`, by workload id: what a pod used up of what it may. Each word is the number of a stretch of time,
/// above, and what was used in it, below.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Quotas {
    /// New entries of `CT_ANY` that the pod opened, by stretches of [`FLOWS_STRETCH_NS`].
    pub flows: u64,
    /// New entries of `CT_ANY` that others opened towards the pod, by the same stretches.
    pub asked: u64,
    /// Events of packets, by stretches of [`EVENTS_STRETCH_NS`].
    pub events: u64,
}

impl Quotas {
    /// What a word says was used in the stretch that `now_ns` lies in.
    #[must_use]
    pub const fn used(word: u64, now_ns: u64, stretch_ns: u64) -> u64 {
        let stretch = (now_ns / stretch_ns) & LOW;
        if word >> 32 == stretch { word & LOW } else { 0 }
    }
}

/// The lower half of a word.
const LOW: u64 = u32::MAX as u64;

/// Stretch of time for which [`NEW_FLOWS`] and [`NEW_FLOWS_BY_PEERS`] hold: a minute.
pub const FLOWS_STRETCH_NS: u64 = 60_000_000_000;
/// New entries of `CT_ANY` that a pod may open in a stretch, a thousand a second. What goes beyond is judged packet by
/// packet, and answers to it pass only where a rule lets them.
pub const NEW_FLOWS: u32 = 65_536;
/// New entries of `CT_ANY` that others may open towards a pod in a stretch: a name server is asked that often.
pub const NEW_FLOWS_BY_PEERS: u32 = 1_048_576;
/// Stretch of time for which [`EVENTS`] holds: a second.
pub const EVENTS_STRETCH_NS: u64 = 1_000_000_000;
/// Packets of a pod that are reported in a stretch; all are counted.
pub const EVENTS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_lives_as_long_as_it_is_used() {
        let flow = Tracked {
            last_ns: 5,
            ..Tracked::default()
        };
        let at = [0, 5, IDLE_NS + 4, IDLE_NS + 5].map(|now| flow.is_alive(now));
        assert_eq!(at, [true, true, true, false]);
    }

    #[test]
    fn what_was_used_in_another_stretch_does_not_count() {
        let word = crate::decide::quota::take(0, 35, 10, 4).unwrap();
        let at = [29, 30, 39, 40].map(|now| Quotas::used(word, now, 10));
        assert_eq!(at, [0, 1, 1, 0]);
    }

    #[test]
    fn what_is_remembered_is_one_flows_only() {
        let addr = |text: &str| Addr::from(text.parse::<core::net::IpAddr>().unwrap());
        let flow = TrackKey {
            pod: 7,
            remote: addr("192.0.2.1"),
            local_port: Port::new(80),
            remote_port: Port::new(40_000),
            protocol: 6,
            reserved: [0; 3],
        };
        let judged = flow.judged(9, flag::BY_PEER);
        assert_eq!((judged.id(), judged.flags()), (9, flag::BY_PEER));
        assert!(judged.belongs_to(flow.hash()));
        let others = [
            TrackKey { pod: 8, ..flow },
            TrackKey {
                remote: addr("192.0.2.2"),
                ..flow
            },
            TrackKey {
                local_port: flow.remote_port,
                remote_port: flow.local_port,
                ..flow
            },
            TrackKey { protocol: 17, ..flow },
        ];
        assert!(others.iter().all(|other| !judged.belongs_to(other.hash())));
    }
}

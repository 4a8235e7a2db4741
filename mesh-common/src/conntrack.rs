//! Flows that a pod's policies have let pass, so that what answers passes, too.
//!
//! Nobody but the programs writes these tables, and they need no agent: entries are told to be over by their time, and
//! the kernel evicts the one that was idle longest. An entry that is gone means that the next packet is judged anew.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::{Addr, Port};

/// Key of `CT_ANY`: a flow of a pod of this node, named from the pod's point of view. Its own address is not part of it:
/// it has one of the family, and whose packets these are is known before.
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

/// Value of `CT_ANY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Tracked {
    /// When a packet of it was last seen, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// [`crate::config::Config::policy`] when it was judged.
    pub policy: u32,
    /// Bits of [`flag`].
    pub flags: u32,
}

/// Flags of [`Tracked`].
pub mod flag {
    /// The other end opened it; else the pod did.
    pub const BY_PEER: u32 = 1;
}

/// How long a flow without a connection is remembered after its last packet, in nanoseconds: as long as a resolver waits
/// for an answer, many times over.
pub const IDLE_NS: u64 = 60_000_000_000;

impl Tracked {
    /// Whether it is not over.
    #[must_use]
    #[inline(always)]
    pub const fn is_alive(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) < IDLE_NS
    }
}

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
}

//! Services: frontends, load balancing regions and backends.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    addr::{Addr, Port, Protocol},
    tag::{hash_addr, mix},
};

/// What a client dials: the key of `SERVICES`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Frontend {
    /// Address of the service.
    pub addr: Addr,
    /// Port of the service.
    pub port: Port,
    /// IANA protocol number.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}

impl Frontend {
    /// A frontend.
    #[must_use]
    #[inline(always)]
    pub const fn new(addr: Addr, port: Port, protocol: Protocol) -> Self {
        Self {
            addr,
            port,
            protocol: protocol as u8,
            reserved: 0,
        }
    }

    /// Hash that checks a [`crate::tag::Tagged`] value and seeds consistent hashing.
    #[must_use]
    #[inline(always)]
    pub const fn hash(&self) -> u64 {
        mix(
            hash_addr(&self.addr),
            (self.port.network() as u64) << 8 | self.protocol as u64,
        )
    }
}

/// How a backend is chosen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Algorithm {
    /// Every connection goes to a backend drawn at random, each with the same chance.
    #[default]
    Random = 0,
    /// Consistent hashing of the client's address (Maglev, NSDI 2016): a client keeps its backend, and a
    /// change of the endpoints moves few clients.
    Maglev = 1,
}

/// Where the slots of a service lie in `LB_TABLE`: one word, so that a program sees the old region or the
/// new one and never half of each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Region(pub u64);

impl Region {
    /// Most slots a region can have.
    pub const MAX_LEN: u32 = (1 << 24) - 1;

    /// Packs a region; `len` is at most [`Self::MAX_LEN`], 0 says that the service has no endpoint.
    #[must_use]
    pub const fn new(offset: u32, len: u32, algorithm: Algorithm) -> Self {
        Self(offset as u64 | ((len & Self::MAX_LEN) as u64) << 32 | (algorithm as u64) << 56)
    }

    /// First slot.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the offset")]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// Number of slots.
    #[must_use]
    #[inline(always)]
    pub const fn len(self) -> u32 {
        (self.0 >> 32) as u32 & Self::MAX_LEN
    }

    /// Whether the service has no endpoint.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The algorithm.
    #[must_use]
    #[inline(always)]
    pub const fn algorithm(self) -> Algorithm {
        if self.0 >> 56 == Algorithm::Maglev as u64 {
            Algorithm::Maglev
        } else {
            Algorithm::Random
        }
    }
}

/// Facts of one service, by service id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ServiceInfo {
    /// Its slots.
    pub region: Region,
    /// Time-out of `ClientIP` affinity in seconds; 0 is no affinity.
    pub affinity_seconds: u32,
    /// Always 0; room for what a later version needs.
    pub reserved: u32,
}

/// One load balancing slot. It names its service, so that a reader who was preempted while the region was
/// freed and used again notices.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Slot {
    /// Backend id.
    pub backend: u32,
    /// The service this slot belongs to; 0 is nobody's.
    pub service: u32,
}

impl Slot {
    /// From the one word it is in memory.
    #[must_use]
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        zerocopy::transmute!(word)
    }
}

/// A backend, by backend id. A record never changes while its id is in use.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
)]
pub struct Backend {
    /// Address of the endpoint.
    pub addr: Addr,
    /// Port of the endpoint.
    pub port: Port,
    /// Always 0; room for a weight.
    pub reserved: u16,
    /// Workload id of the pod behind it; 0 when it is no pod.
    pub workload: u32,
}

/// Says that a backend is an endpoint of a service now. Kept for services whose clients are remembered:
/// those with affinity, and those over UDP.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Member {
    /// Service id.
    pub service: u32,
    /// Backend id.
    pub backend: u32,
}

/// Key of `AFFINITY`: a client pod and the service it dialled.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct AffinityKey {
    /// Cookie of the client's network namespace.
    pub netns: u64,
    /// Service id.
    pub service: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Value of `AFFINITY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Affinity {
    /// When the client last connected, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// Backend id.
    pub backend: u32,
    /// Always 0.
    pub reserved: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_keeps_its_parts() {
        let region = Region::new(0xffff_fff0, Region::MAX_LEN, Algorithm::Maglev);
        assert_eq!((region.offset(), region.len()), (0xffff_fff0, Region::MAX_LEN));
        assert_eq!(region.algorithm(), Algorithm::Maglev);
        assert!(Region::new(7, 0, Algorithm::Random).is_empty());
    }

    #[test]
    fn frontends_that_differ_hash_differently() {
        let addr = Addr::from_v4_word(0x0101_000a);
        let tcp = Frontend::new(addr, Port::new(80), Protocol::Tcp);
        let udp = Frontend::new(addr, Port::new(80), Protocol::Udp);
        let other = Frontend::new(addr, Port::new(81), Protocol::Tcp);
        assert_ne!(tcp.hash() >> 40, udp.hash() >> 40);
        assert_ne!(tcp.hash() >> 40, other.hash() >> 40);
    }
}

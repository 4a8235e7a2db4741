//! What the rules are for one pod of this node, and what the pod is to the rules of others.
//!
//! Each word is read in one load and carries a check of its key (see [`crate::tag`]), so a pod goes from one pair of rule
//! sets to another in one step, and a reader never takes another pod's.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::Addr;
use crate::policy::{Direction, OPEN};
use crate::tag::mix;

/// The highest number of a rule set.
pub const MOST_SETS: u32 = (1 << SET_BITS) - 1;

/// Number of the rule set through which nothing passes, and which takes no look-up: that of pods whose own set found no
/// room.
pub const NOTHING: u32 = MOST_SETS;

/// The highest number of a class.
pub const MOST_CLASSES: u32 = (1 << CLASS_BITS) - 1;

const SET_BITS: u32 = 18;
const CLASS_BITS: u32 = 20;
/// Bits of the check, at the upper end of a word.
const CHECK_SHIFT: u32 = 40;

/// Flags of [`Sets`], four bits.
pub mod flag {
    /// What the rules refuse passes, and is reported: the namespace is in audit mode.
    pub const AUDIT: u8 = 1;
}

/// Value of `POD_RULES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PodRules {
    /// Its rule sets.
    pub sets: Sets,
    /// Its classes.
    pub classes: Classes,
    /// Its first address of each family: IPv4 (v4-mapped) and IPv6; unspecified where it has none.
    pub addrs: [Addr; 2],
}

/// Numbers of a pod's rule sets: ingress and egress, with flags.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Sets(pub u64);

/// Classes of a pod's addresses: IPv4 and IPv6. What it is to others, so that both ends can be judged where it sends.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Classes(pub u64);

impl PodRules {
    /// Of the pod with a workload id. Sets in the order of [`Direction::ALL`], addresses and their classes in the order of
    /// [`Self::addrs`].
    #[must_use]
    pub const fn new(workload: u32, sets: [u32; 2], flags: u8, classes: [u32; 2], addrs: [Addr; 2]) -> Self {
        let check = hash(workload) >> CHECK_SHIFT << CHECK_SHIFT;
        let [ingress, egress] = sets;
        let [v4, v6] = classes;
        Self {
            sets: Sets(pair(ingress, egress, SET_BITS) | ((flags & 0xf) as u64) << (2 * SET_BITS) | check),
            classes: Classes(pair(v4, v6, CLASS_BITS) | check),
            addrs,
        }
    }
}

/// Two numbers of so many bits each.
const fn pair(low: u32, high: u32, bits: u32) -> u64 {
    let mask = (1_u64 << bits) - 1;
    (low as u64 & mask) | (high as u64 & mask) << bits
}

/// Hash of a workload id, the key of `POD_RULES`.
#[must_use]
#[inline(always)]
pub const fn hash(workload: u32) -> u64 {
    mix(0, workload as u64)
}

impl Sets {
    /// Whether it was written for the pod with that workload id.
    #[must_use]
    #[inline(always)]
    pub const fn belongs_to(self, workload: u32) -> bool {
        self.0 >> CHECK_SHIFT == hash(workload) >> CHECK_SHIFT
    }

    /// Number of the set in a direction.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cut to the bits of a number on purpose"
    )]
    pub const fn of(self, direction: Direction) -> u32 {
        (self.0 >> (direction as u32 * SET_BITS)) as u32 & MOST_SETS
    }

    /// Bits of [`flag`].
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cut to the four bits of flags on purpose"
    )]
    pub const fn flags(self) -> u8 {
        (self.0 >> (2 * SET_BITS)) as u8 & 0xf
    }

    /// Whether no policy selects the pod.
    #[must_use]
    #[inline(always)]
    pub const fn is_open(self) -> bool {
        self.of(Direction::Ingress) == OPEN && self.of(Direction::Egress) == OPEN
    }
}

impl Classes {
    /// Whether it was written for the pod with that workload id.
    #[must_use]
    #[inline(always)]
    pub const fn belongs_to(self, workload: u32) -> bool {
        self.0 >> CHECK_SHIFT == hash(workload) >> CHECK_SHIFT
    }

    /// The class of the pod's address of the family of another address.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cut to the bits of a number on purpose"
    )]
    pub const fn towards(self, other: &Addr) -> u32 {
        let shift = if other.is_v4() { 0 } else { CLASS_BITS };
        (self.0 >> shift) as u32 & MOST_CLASSES
    }
}

/// Key of `CIDRS`, as longest-prefix tables want it.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct CidrKey {
    /// Length of the prefix in bits; IPv4 counts from 96, since it is held v4-mapped.
    pub length: u32,
    /// The prefix.
    pub addr: Addr,
}

impl CidrKey {
    /// Key to look up an address.
    #[must_use]
    #[inline(always)]
    pub const fn host(addr: Addr) -> Self {
        Self { length: 128, addr }
    }
}

/// As people write it: IPv4 with a length of up to 32.
impl core::fmt::Display for CidrKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let length = match self.length.checked_sub(96) {
            Some(length) if self.addr.is_v4() => length,
            _ => self.length,
        };
        write!(f, "{}/{length}", self.addr)
    }
}

/// Key of `SOURCES`, as longest-prefix tables want it: a prefix whose addresses a pod may use beside its own.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct SourceKey {
    /// Length in bits: [`Self::OWNER_BITS`] of the pod, and those of the prefix; IPv4 counts from 96.
    pub length: u32,
    /// What is looked up.
    pub source: Source,
}

/// A pod and an address.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Source {
    /// Workload id of the pod.
    pub workload: u32,
    /// The address, or a prefix.
    pub addr: Addr,
}

impl SourceKey {
    /// How long the part of a key is that names the pod.
    pub const OWNER_BITS: u32 = u32::BITS;

    /// Key of a prefix; its length in bits, IPv4 counting from 96.
    #[must_use]
    pub const fn new(workload: u32, addr: Addr, length: u32) -> Self {
        Self {
            length: Self::OWNER_BITS + length,
            source: Source { workload, addr },
        }
    }

    /// Key to look up an address.
    #[must_use]
    #[inline(always)]
    pub const fn host(workload: u32, addr: Addr) -> Self {
        Self::new(workload, addr, 128)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<std::net::IpAddr>().unwrap().into()
    }

    #[test]
    fn words_hold_what_they_were_given() {
        let rules = PodRules::new(
            7,
            [3, NOTHING],
            flag::AUDIT,
            [MOST_CLASSES, 5],
            [Addr::default(); 2],
        );
        let sets = Direction::ALL.map(|direction| rules.sets.of(direction));
        assert_eq!((sets, rules.sets.flags()), ([3, NOTHING], flag::AUDIT));
        let classes = ["192.0.2.1", "2001:db8::1"].map(|text| rules.classes.towards(&addr(text)));
        assert_eq!(classes, [MOST_CLASSES, 5]);
        assert!(rules.sets.belongs_to(7) && rules.classes.belongs_to(7));
        assert!(!rules.sets.belongs_to(8) && !rules.classes.belongs_to(8));
    }

    #[test]
    fn open_is_both_ways() {
        let open = |sets| {
            PodRules::new(1, sets, 0, [0, 0], [Addr::default(); 2])
                .sets
                .is_open()
        };
        assert_eq!([open([0, 0]), open([1, 0]), open([0, 1])], [true, false, false]);
    }
}

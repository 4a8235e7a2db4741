//! TCP handshakes with pods of this node, as the program at the pods' listeners remembers them.
//!
//! Nobody but the programs writes these tables. The kernel evicts the entry that was idle longest; one that is gone costs
//! a second report, or a probe of the host that has to come again.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::{Addr, Port};
use crate::tag::{hash_addr, mix};

/// Key of `HOST_FLOWS` and `REFUSED`: a handshake, named from the point of view of the pod that is asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Inbound {
    /// The pod's address.
    pub local: Addr,
    /// Who asks.
    pub remote: Addr,
    /// The pod's port.
    pub local_port: Port,
    /// Port of [`Self::remote`].
    pub remote_port: Port,
}

impl Inbound {
    /// What its value is checked with.
    #[must_use]
    #[inline(always)]
    pub const fn hash(&self) -> u64 {
        let ports = (self.local_port.get() as u64) << 16 | self.remote_port.get() as u64;
        // In this order, since mixing two hashes is the same in both.
        mix(mix(hash_addr(&self.local), ports), hash_addr(&self.remote))
    }
}

/// Value of `HOST_FLOWS` and `REFUSED`: when that was, in milliseconds of `CLOCK_MONOTONIC` (40 bits, 34 years), and 24
/// bits that check the key, in one word (see [`crate::tag`]).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Stamp(pub u64);

const CHECK_SHIFT: u32 = 40;
const NS_PER_MS: u64 = 1_000_000;

impl Stamp {
    /// Of a handshake, at a time in nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    #[inline(always)]
    pub const fn new(of: &Inbound, now_ns: u64) -> Self {
        let check = of.hash() >> CHECK_SHIFT << CHECK_SHIFT;
        Self(check | millis(now_ns))
    }

    /// Whether it is of that handshake, and not older than so many milliseconds.
    #[must_use]
    #[inline(always)]
    pub const fn holds(self, of: &Inbound, now_ns: u64, within_ms: u64) -> bool {
        self.0 >> CHECK_SHIFT == of.hash() >> CHECK_SHIFT && self.age_ms(now_ns) <= within_ms
    }

    /// How long ago that was, in milliseconds.
    #[must_use]
    #[inline(always)]
    pub const fn age_ms(self, now_ns: u64) -> u64 {
        millis(now_ns).wrapping_sub(self.0) & MILLIS
    }
}

const MILLIS: u64 = (1 << CHECK_SHIFT) - 1;

const fn millis(ns: u64) -> u64 {
    (ns / NS_PER_MS) & MILLIS
}

/// For so long a handshake of the host's own is known, in milliseconds: the sixth repetition of a SYN comes after 63 seconds.
pub const HOSTS_MS: u64 = 64_000;

/// What was refused is the same handshake for so long after it last came, in milliseconds: a SYN that nobody answers comes
/// again after one second, then two.
pub const REPEATED_MS: u64 = 3_000;

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn from(port: u16) -> Inbound {
        let addr = |text: &str| text.parse::<std::net::IpAddr>().unwrap().into();
        Inbound {
            local: addr("10.0.1.1"),
            remote: addr("10.0.1.2"),
            local_port: Port::new(80),
            remote_port: Port::new(port),
        }
    }

    #[test]
    fn a_stamp_holds_for_a_while() {
        let at = |ms: u64| ms * NS_PER_MS;
        let stamp = Stamp::new(&from(1), at(5_000));
        let holds = [5_000, 8_000, 8_001].map(|ms| stamp.holds(&from(1), at(ms), REPEATED_MS));
        assert_eq!(holds, [true, true, false]);
        assert!(!Stamp::default().holds(&from(1), at(100_000), HOSTS_MS));
    }

    #[test]
    fn a_stamp_is_of_its_handshake_only() {
        let stamp = Stamp::new(&from(1), NS_PER_MS);
        let strangers = (2..10_000).filter(|&port| stamp.holds(&from(port), NS_PER_MS, HOSTS_MS));
        assert!(strangers.count() <= 1);
        let turned = Inbound {
            local: from(1).remote,
            remote: from(1).local,
            ..from(1)
        };
        assert!(!stamp.holds(&turned, NS_PER_MS, HOSTS_MS));
    }
}

//! Values of hash maps that a reader can check.
//!
//! The kernel recycles elements of hash maps without a grace period: a program that holds a pointer to a
//! value may find another key's value there a moment later. A [`Tagged`] value is one `u64`, read in one
//! load, that carries a check of its key; a reader who finds a foreign check looks the key up again.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An id of 32 bits, 8 bits of flags and 24 bits that check the key, in one word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Tagged(pub u64);

impl Tagged {
    /// Packs an id and flags for the key whose hash is `key_hash`.
    #[must_use]
    #[inline(always)]
    pub const fn new(id: u32, flags: u8, key_hash: u64) -> Self {
        Self(id as u64 | (flags as u64) << 32 | (key_hash >> 40) << 40)
    }

    /// Whether this value was written for the key with that hash.
    #[must_use]
    #[inline(always)]
    pub const fn belongs_to(self, key_hash: u64) -> bool {
        self.0 >> 40 == key_hash >> 40
    }

    /// The id.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the id")]
    pub const fn id(self) -> u32 {
        self.0 as u32
    }

    /// The flags.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cut to the eight bits of flags on purpose"
    )]
    pub const fn flags(self) -> u8 {
        (self.0 >> 32) as u8
    }
}

/// Folds a word into a hash. The multiplier is Knuth's 64-bit golden ratio; three operations a word, so
/// that a program can afford it at every connect.
#[must_use]
#[inline(always)]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

/// Hash of an address.
#[must_use]
#[inline(always)]
pub const fn hash_addr(addr: &crate::addr::Addr) -> u64 {
    let [a, b, c, d] = addr.0;
    mix(mix(0, (a as u64) << 32 | b as u64), (c as u64) << 32 | d as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_its_key_only() {
        let value = Tagged::new(0xdead_beef, 0x5a, mix(0, 1));
        assert_eq!((value.id(), value.flags()), (0xdead_beef, 0x5a));
        assert!(value.belongs_to(mix(0, 1)));
        let strangers = (2..10_000).filter(|&key| value.belongs_to(mix(0, key))).count();
        assert!(strangers <= 1, "{strangers} of 10,000 keys share the check");
    }
}

//! Consistent hashing of endpoints onto slots (Eisenbud et al., "Maglev", NSDI 2016, section 3.4).
//!
//! The table depends on the addresses and ports of the endpoints and on nothing else: every node builds the
//! same one, before and after a restart, so a client keeps its backend wherever it is looked up.

use mesh_common::addr::{Addr, Port};
use std::net::{IpAddr, Ipv6Addr};

/// Sizes a table may have: primes, so that every step visits every slot, each the largest below (or, the
/// first, next to) a power of two, so that a region wastes little.
pub const SIZES: [u32; 10] = [
    251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 32_749, 65_521, 131_071,
];

/// Slots an endpoint should have at least: 50 keep the shares within two percent of each other.
const SLOTS_PER_ENDPOINT: u64 = 50;

/// Number of slots for that many endpoints; past the last size, endpoints get fewer slots each.
#[must_use]
pub fn table_size(endpoints: usize) -> u32 {
    let wanted = SLOTS_PER_ENDPOINT.saturating_mul(endpoints as u64);
    let fits = SIZES.into_iter().find(|&size| u64::from(size) >= wanted);
    fits.unwrap_or(SIZES[SIZES.len() - 1])
}

/// For every slot the index of its endpoint. Endpoints take turns at claiming the next free slot of their
/// own permutation, so hand them over in an order that does not change, such as sorted.
#[must_use]
pub fn table(endpoints: &[(Addr, Port)]) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    if endpoints.is_empty() {
        return Vec::new();
    }
    let size = table_size(endpoints.len());
    let mut walks: Vec<Walk> = endpoints
        .iter()
        .map(|&(addr, port)| Walk::new(addr, port, size))
        .collect();
    let mut slots = vec![FREE; size as usize];
    let mut left = slots.len();
    loop {
        for (endpoint, walk) in (0..).zip(&mut walks) {
            if left == 0 {
                return slots;
            }
            while slots[walk.at as usize] != FREE {
                walk.advance(size);
            }
            slots[walk.at as usize] = endpoint;
            left -= 1;
        }
    }
}

/// An endpoint's permutation of the slots, walked one slot at a time.
struct Walk {
    at: u32,
    step: u32,
}

impl Walk {
    fn new(addr: Addr, port: Port, size: u32) -> Self {
        let hash = hash_endpoint(addr, port);
        Self {
            at: remainder(hash, size),
            step: remainder(scramble(hash), size - 1) + 1,
        }
    }

    fn advance(&mut self, size: u32) {
        // Both are below 2^17: the sum cannot overflow.
        self.at += self.step;
        if self.at >= size {
            self.at -= size;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder of a 32-bit divisor has 32 bits"
)]
fn remainder(hash: u64, divisor: u32) -> u32 {
    (hash % u64::from(divisor)) as u32
}

/// The same on every architecture: it reads the address in network order. Never change it, or every client
/// of every consistently hashed service moves when an agent is upgraded.
fn hash_endpoint(addr: Addr, port: Port) -> u64 {
    let v6: Ipv6Addr = match IpAddr::from(addr) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let bits = v6.to_bits();
    let fold = |hash: u64, word: u64| scramble(hash ^ word);
    fold(
        fold(scramble(high_half(bits)), low_half(bits)),
        u64::from(port.get()),
    )
}

const fn high_half(bits: u128) -> u64 {
    (bits >> 64) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low_half(bits: u128) -> u64 {
    bits as u64
}

/// One step of `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014): every bit of the input moves every bit of the
/// output, unlike the cheap hash the kernel side uses.
const fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn endpoints(count: u8) -> Vec<(Addr, Port)> {
        (1..=count)
            .map(|host| (Ipv4Addr::new(10, 1, 2, host).into(), Port::new(8080)))
            .collect()
    }

    /// Who has each slot, by name rather than by position.
    fn owners(endpoints: &[(Addr, Port)]) -> Vec<(Addr, Port)> {
        table(endpoints)
            .iter()
            .map(|&at| endpoints[at as usize])
            .collect()
    }

    #[test]
    fn sizes_are_prime_and_leave_room_for_the_endpoints() {
        for size in SIZES {
            assert!((2..size).take_while(|d| d * d <= size).all(|d| size % d != 0));
        }
        assert_eq!(
            [0, 1, 5, 6, 10, 11, 2_621, 2_622, 1_000_000].map(table_size),
            [251, 251, 251, 509, 509, 1_021, 131_071, 131_071, 131_071]
        );
    }

    #[test]
    fn without_endpoints_there_are_no_slots() {
        assert!(table(&[]).is_empty());
    }

    #[test]
    fn shares_differ_by_one_slot_at_most() {
        for count in [1, 2, 7, 10, 200] {
            let endpoints = endpoints(count);
            let mut shares = vec![0_u32; endpoints.len()];
            for owner in table(&endpoints) {
                shares[owner as usize] += 1;
            }
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{count} endpoints: {shares:?}");
        }
    }

    #[test]
    fn losing_one_of_ten_endpoints_moves_few_slots_of_the_others() {
        let all = endpoints(10);
        let before = owners(&all);
        for gone in 0..all.len() {
            let mut rest = all.clone();
            let gone = rest.remove(gone);
            let moved = before
                .iter()
                .zip(owners(&rest))
                .filter(|&(&was, is)| was != gone && was != is)
                .count();
            assert!(
                moved * 100 <= before.len() * 5,
                "{moved} of {} moved",
                before.len()
            );
        }
    }

    #[test]
    fn the_table_of_some_endpoints_is_written_in_stone() {
        // A change here moves the clients of every consistently hashed service on upgrade.
        let table = table(&endpoints(3));
        assert_eq!(table[..12], [2, 1, 0, 2, 2, 0, 1, 2, 1, 2, 1, 1], "first slots");
        let sum = table
            .iter()
            .fold(0_u64, |hash, &at| scramble(hash ^ u64::from(at)));
        assert_eq!(sum, 624_426_571_562_611_951, "all slots");
    }

    #[test]
    fn more_endpoints_than_slots_still_make_a_table() {
        let many: Vec<_> = (0..140_000_u32)
            .map(|host| (Ipv4Addr::from_bits(0x0a00_0000 + host).into(), Port::new(1)))
            .collect();
        assert_eq!(table(&many).len(), 131_071);
    }

    #[test]
    fn both_families_and_every_port_hash_on_their_own() {
        let v4 = Ipv4Addr::new(10, 0, 0, 1).into();
        let v6: Addr = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]).into();
        let hashes = [
            hash_endpoint(v4, Port::new(80)),
            hash_endpoint(v4, Port::new(81)),
            hash_endpoint(v6, Port::new(80)),
        ];
        assert!(hashes[0] != hashes[1] && hashes[0] != hashes[2]);
    }
}

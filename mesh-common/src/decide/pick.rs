//! Which slot of a service's region a client gets.

use crate::{
    service::{Algorithm, Frontend, Region, Slot},
    tag::mix,
};

/// The slot for a client, or `None` where the service has no endpoint.
///
/// `random` is a fresh random number, `seed` what consistent hashing knows the client by.
#[must_use]
#[inline(always)]
pub const fn slot(region: Region, frontend: &Frontend, seed: u32, random: u32) -> Option<u32> {
    if region.is_empty() {
        return None;
    }
    let number = match region.algorithm() {
        Algorithm::Random => random,
        Algorithm::Maglev => client_hash(frontend, seed),
    };
    Some(region.offset().wrapping_add(scale(number, region.len())))
}

/// Whether a slot read from the table still belongs to the service it was read for.
#[must_use]
#[inline(always)]
pub const fn is_mine(slot: Slot, service: u32) -> bool {
    slot.service == service
}

/// Hash of a client and what it dials; the same on every node and after every restart.
#[must_use]
#[inline(always)]
const fn client_hash(frontend: &Frontend, seed: u32) -> u32 {
    (mix(frontend.hash(), seed as u64) >> 32) as u32
}

/// Maps a number evenly onto `0..len` by multiplication: no division, no bias worth a retry at these lengths.
#[must_use]
#[inline(always)]
const fn scale(number: u32, len: u32) -> u32 {
    ((number as u64 * len as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Addr, Port, Protocol};

    fn frontend() -> Frontend {
        Frontend::new(Addr::from_v4_word(1), Port::new(80), Protocol::Tcp)
    }

    #[test]
    fn no_endpoint_no_slot() {
        assert_eq!(
            slot(Region::new(0, 0, Algorithm::Random), &frontend(), 1, 2),
            None
        );
    }

    #[test]
    fn random_reaches_every_slot_and_no_other() {
        let region = Region::new(100, 3, Algorithm::Random);
        let mut seen = [0; 3];
        for step in 0..3_000_u32 {
            let number = step.wrapping_mul(1_431_655);
            seen[slot(region, &frontend(), 0, number).unwrap() as usize - 100] += 1;
        }
        assert!(seen.iter().all(|&count| count > 900), "{seen:?}");
    }

    #[test]
    fn maglev_looks_at_the_client_and_not_at_chance() {
        let region = Region::new(0, 251, Algorithm::Maglev);
        assert_eq!(
            slot(region, &frontend(), 7, 1),
            slot(region, &frontend(), 7, u32::MAX)
        );
        let mut used = [false; 251];
        for seed in 0..5_000 {
            used[slot(region, &frontend(), seed, 0).unwrap() as usize] = true;
        }
        assert!(used.iter().all(|&slot| slot));
    }
}

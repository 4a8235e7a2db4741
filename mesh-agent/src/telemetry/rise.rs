//! What counters that the kernel keeps rose by between two readings.

use std::{collections::HashMap, hash::Hash};

use mesh_common::packet::{PacketCount, PacketTotals, UdpTraffic};

/// What a thing's counters rose by since `before`. If any of them fell, the thing was made anew in between and
/// all of them started from nothing.
#[must_use]
pub fn rise<const N: usize>(before: [u64; N], now: [u64; N]) -> [u64; N] {
    if before.iter().zip(&now).any(|(before, now)| now < before) {
        return now;
    }
    std::array::from_fn(|index| now[index] - before[index])
}

/// The counters of each thing as they were at the last reading.
#[derive(Clone, Debug)]
pub struct Readings<K, const N: usize>(HashMap<K, [u64; N]>);

impl<K, const N: usize> Default for Readings<K, N> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, const N: usize> Readings<K, N> {
    /// Takes what a thing's counters are now, and returns what they rose by.
    pub fn rise(&mut self, key: K, now: [u64; N]) -> [u64; N] {
        let before = self.0.insert(key, now).unwrap_or([0; N]);
        rise(before, now)
    }

    /// Forgets what is not there any more.
    pub fn retain(&mut self, is_there: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }
}

/// Packets by protocol (TCP, UDP, other), of each: packets sent, bytes sent, packets received, bytes received.
#[must_use]
pub const fn of_packets(totals: &PacketTotals) -> [[u64; 4]; 3] {
    const fn each(count: PacketCount) -> [u64; 4] {
        [
            count.sent_packets,
            count.sent_bytes,
            count.received_packets,
            count.received_bytes,
        ]
    }
    [each(totals.tcp), each(totals.udp), each(totals.other)]
}

/// Datagrams sent, bytes sent, datagrams received, bytes received.
#[must_use]
pub const fn of_datagrams(traffic: &UdpTraffic) -> [u64; 4] {
    [
        traffic.sent_datagrams,
        traffic.sent_bytes,
        traffic.received_datagrams,
        traffic.received_bytes,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fell_started_anew() {
        for (before, now, expected) in [
            ([0, 0], [3, 4], [3, 4]),
            ([3, 4], [3, 4], [0, 0]),
            ([3, 4], [5, 9], [2, 5]),
            ([100, 4], [5, 9], [5, 9]),
            ([100, 4], [0, 0], [0, 0]),
        ] {
            assert_eq!(rise(before, now), expected, "{before:?} {now:?}");
        }
    }

    #[test]
    fn every_thing_has_its_own_readings() {
        let mut readings = Readings::default();
        assert_eq!(readings.rise(1, [5]), [5]);
        assert_eq!(readings.rise(2, [7]), [7]);
        assert_eq!(readings.rise(1, [8]), [3]);
        readings.retain(|&key| key == 2);
        assert_eq!((readings.rise(1, [8]), readings.rise(2, [8])), ([8], [1]));
    }
}

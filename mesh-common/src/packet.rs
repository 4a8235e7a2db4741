//! What the packet program counts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::{Addr, Port};
use crate::tag::{Tagged, mix};

/// Seen from the pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Out of the pod.
    Sent,
    /// Into the pod.
    Received,
}

/// Element of `PACKETS`, per CPU: an interface and what passed it. An array with the owner in the element, since
/// each packet is looked up and a hash map of the kernel's costs several calls; see [`places`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PacketSlot {
    /// Index of a pod's host-side interface; 0: nobody's.
    pub ifindex: u32,
    /// Always 0.
    pub reserved: u32,
    /// What passed it.
    pub totals: PacketTotals,
}

/// Element of `INTERFACES`: an interface and the pod at its other end. In the same [`places`] as in `PACKETS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct InterfaceSlot {
    /// Index of a pod's host-side interface; 0: nobody's.
    pub ifindex: u32,
    /// Always 0.
    pub reserved: u32,
    /// Workload id of the pod, with flags ([`crate::workload::flag::CLOSED`] only), checked by [`hash_interface`].
    pub pod: Tagged,
}

impl InterfaceSlot {
    /// Of an interface whose other end a pod has.
    #[must_use]
    pub const fn new(ifindex: u32, workload: u32, flags: u8) -> Self {
        Self {
            ifindex,
            reserved: 0,
            pod: Tagged::new(workload, flags, hash_interface(ifindex)),
        }
    }
}

/// Hash of an interface's index: a slot that is read while it is written is told by it.
#[must_use]
#[inline(always)]
pub const fn hash_interface(ifindex: u32) -> u64 {
    mix(0, ifindex as u64)
}

/// Elements that `PACKETS` and `INTERFACES` have, as a power of two: four times the pods of a large node.
const PLACES_SHIFT: u32 = 11;
/// Elements that `PACKETS` has.
pub const PLACES: u32 = 1 << PLACES_SHIFT;
/// In how many of them an interface may be.
const TRIES: u32 = 8;

/// Where in `PACKETS` an interface may be, in the order to look. The kernel counts interfaces upwards; the
/// multiplier (Knuth's golden ratio) keeps neighbours far apart, so that nearly all have the first.
#[inline(always)]
pub fn places(ifindex: u32) -> impl Iterator<Item = u32> {
    let first = ifindex.wrapping_mul(0x9e37_79b9) >> (u32::BITS - PLACES_SHIFT);
    (0..TRIES).map(move |at| (first + at) % PLACES)
}

/// Packets at an interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PacketTotals {
    /// TCP over IPv4 and IPv6.
    pub tcp: PacketCount,
    /// UDP over IPv4 and IPv6.
    pub udp: PacketCount,
    /// Everything else.
    pub other: PacketCount,
}

impl PacketTotals {
    /// The sum of two.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            tcp: self.tcp.plus(other.tcp),
            udp: self.udp.plus(other.udp),
            other: self.other.plus(other.other),
        }
    }
}

/// Packets and their bytes on the wire, link headers included.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PacketCount {
    /// Packets out of the pod.
    pub sent_packets: u64,
    /// Bytes out of the pod.
    pub sent_bytes: u64,
    /// Packets into the pod.
    pub received_packets: u64,
    /// Bytes into the pod.
    pub received_bytes: u64,
}

impl PacketCount {
    /// Adds a packet of `len` bytes, or the `segments` packets that the stack carries as one (GSO).
    #[inline(always)]
    pub const fn add(&mut self, direction: Direction, len: u32, segments: u32) {
        let packets = if segments == 0 { 1 } else { segments as u64 };
        match direction {
            Direction::Sent => {
                self.sent_packets += packets;
                self.sent_bytes += len as u64;
            }
            Direction::Received => {
                self.received_packets += packets;
                self.received_bytes += len as u64;
            }
        }
    }

    /// The sum of two.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            sent_packets: self.sent_packets.wrapping_add(other.sent_packets),
            sent_bytes: self.sent_bytes.wrapping_add(other.sent_bytes),
            received_packets: self.received_packets.wrapping_add(other.received_packets),
            received_bytes: self.received_bytes.wrapping_add(other.received_bytes),
        }
    }
}

/// Key of `UDP_TRAFFIC`: a UDP flow at a pod's interface, seen from the pod.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct UdpKey {
    /// The pod's address.
    pub local: Addr,
    /// The other end's.
    pub remote: Addr,
    /// The pod's port.
    pub local_port: Port,
    /// The other end's.
    pub remote_port: Port,
    /// Index of the pod's host-side interface.
    pub ifindex: u32,
}

/// Value of `UDP_TRAFFIC`, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct UdpTraffic {
    /// Datagrams out of the pod.
    pub sent_datagrams: u64,
    /// Their payload in bytes.
    pub sent_bytes: u64,
    /// Datagrams into the pod.
    pub received_datagrams: u64,
    /// Their payload in bytes.
    pub received_bytes: u64,
    /// When this CPU saw the first, in nanoseconds of `CLOCK_MONOTONIC`; 0: none.
    pub first_ns: u64,
    /// When this CPU saw the last.
    pub last_ns: u64,
}

impl UdpTraffic {
    /// Adds a datagram.
    #[inline(always)]
    pub const fn add(&mut self, direction: Direction, payload: u64) {
        match direction {
            Direction::Sent => {
                self.sent_datagrams += 1;
                self.sent_bytes += payload;
            }
            Direction::Received => {
                self.received_datagrams += 1;
                self.received_bytes += payload;
            }
        }
    }

    /// What two CPUs saw.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let earliest = match (self.first_ns, other.first_ns) {
            (0, first) | (first, 0) => first,
            (one, two) => one.min(two),
        };
        Self {
            sent_datagrams: self.sent_datagrams.wrapping_add(other.sent_datagrams),
            sent_bytes: self.sent_bytes.wrapping_add(other.sent_bytes),
            received_datagrams: self.received_datagrams.wrapping_add(other.received_datagrams),
            received_bytes: self.received_bytes.wrapping_add(other.received_bytes),
            first_ns: earliest,
            last_ns: self.last_ns.max(other.last_ns),
        }
    }
}

/// Key of `UDP_SERVICES`: a pod and a backend it sends datagrams to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct UdpServiceKey {
    /// Cookie of the pod's network namespace.
    pub netns: u64,
    /// Address of the backend.
    pub addr: Addr,
    /// Port of the backend.
    pub port: Port,
    /// Always 0.
    pub reserved: [u16; 3],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_hundred_pods_find_a_place_whatever_came_and_went_before() {
        let mut owners = [0; PLACES as usize];
        let mut not_first = 0;
        // Each pod makes two interfaces, of which the host keeps one; some pods stay while thousands go.
        let interfaces = (0..500).map(|pod| 7 + 2 * pod + pod / 50 * 77_777);
        for ifindex in interfaces {
            let free = places(ifindex).position(|place| owners[place as usize] == 0);
            let tries = free.unwrap_or_else(|| panic!("no place for {ifindex}"));
            let place = places(ifindex).nth(tries).unwrap();
            owners[place as usize] = ifindex;
            not_first += u32::from(tries > 0);
        }
        assert!(
            not_first < 150,
            "{not_first} of 500 are not where they are looked for first"
        );
    }

    #[test]
    fn a_burst_the_stack_carries_as_one_counts_its_packets() {
        let mut count = PacketCount::default();
        count.add(Direction::Sent, 64_000, 45);
        count.add(Direction::Received, 66, 0);
        assert_eq!((count.sent_packets, count.sent_bytes), (45, 64_000));
        assert_eq!((count.received_packets, count.received_bytes), (1, 66));
    }
}

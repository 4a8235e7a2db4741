//! Whether a frame passes: first whose addresses it bears, then what policies say.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{btf_maps::lpm_trie::Key, programs::TcContext};
use mesh_common::{
    addr::{Addr, Port},
    config,
    conntrack::TrackKey,
    counter::Counter,
    decide::spoof::{self, Claim},
    packet::{hash_interface, places},
    policy::{Direction, Reason},
    rules::{Sets, SourceKey},
    tag::Tagged,
    workload,
};

use super::{
    frame::{self, ETHERNET, Frame, ICMPV6, Packet},
    police, report,
};
use crate::{
    count::count,
    judge,
    maps::{CONFIG, INTERFACES, SOURCES},
    pod, track,
};

/// A pod at an interface, and a packet's way.
#[derive(Clone, Copy)]
pub struct Pod {
    /// Its workload id.
    pub workload: u32,
    /// Its rule sets.
    pub sets: Sets,
    /// Out of it, or into it.
    pub way: Direction,
    /// The interface that received the packet; 0 for one that this host made.
    pub from: u32,
}

/// Whether a frame passes. Where no pod is known, or nothing of it, all passes but what a closed namespace keeps back.
#[inline(always)]
pub fn passes(ctx: &TcContext, ifindex: u32, (frame, packet): (Frame, &mut Packet), way: Direction) -> bool {
    let Some(owner) = at(ifindex) else { return true };
    let workload = owner.id();
    let Some(sets) = judge::sets(workload) else {
        return owner.flags() & workload::flag::CLOSED == 0 || !is_enabled() || {
            count(Counter::Pending);
            false
        };
    };
    // SAFETY: the kernel passes a valid context.
    let from = unsafe { read_volatile(addr_of!((*super::skb(ctx)).ingress_ifindex)) };
    let pod = Pod {
        workload,
        sets,
        way,
        from,
    };
    match frame {
        Frame::Ip => {
            if !is_addressed(ctx, &pod, packet) {
                return false;
            }
            if sets.is_open() {
                return true;
            }
            // Read once more: what the verifier has learned about the packet so far would make it go through all that
            // follows dozens of times, and it has an end of patience.
            *packet = Packet::NONE;
            frame::read(ctx, packet) == Frame::Ip && police::passes(ctx, &pod, packet)
        }
        Frame::Arp => way as u8 == Direction::Ingress as u8 || is_resolved(ctx, &pod, packet),
        Frame::Other => sets.of(way) == mesh_common::policy::OPEN || report::unreadable(&pod, packet),
        Frame::Cut => report::foreign(&pod, packet),
    }
}

/// The pod at the other end of an interface.
#[inline(always)]
fn at(ifindex: u32) -> Option<Tagged> {
    places(ifindex).find_map(|place| {
        let slot = INTERFACES.get_ptr(place)?;
        // SAFETY: `slot` points into the map's value for as long as the program runs.
        if unsafe { read_volatile(addr_of!((*slot).ifindex)) } != ifindex {
            return None;
        }
        // SAFETY: as above; one word, read at once.
        let pod: Tagged = unsafe { read_volatile(addr_of!((*slot).pod)) };
        pod.belongs_to(hash_interface(ifindex)).then_some(pod)
    })
}

/// Whether a packet bears an address of the pod, as its source or destination.
#[inline(always)]
fn is_addressed(ctx: &TcContext, pod: &Pod, packet: &Packet) -> bool {
    let egress = pod.way as u8 == Direction::Egress as u8;
    let addr = if egress {
        &packet.source
    } else {
        &packet.destination
    };
    let own = judge::seen_from(pod.workload, addr).map_or(Addr::default(), |(_, own)| own);
    let claim = if egress {
        spoof::source(addr, &own)
    } else {
        spoof::destination(addr, &own)
    };
    let bears_own = match claim {
        Claim::Own if egress && packet.protocol == ICMPV6 => is_honest(ctx, pod, packet),
        Claim::Neighbour if egress => is_honest(ctx, pod, packet),
        Claim::Own | Claim::Many | Claim::Neighbour => true,
        Claim::Other => owns(pod.workload, addr),
    };
    bears_own || report::foreign(pod, packet)
}

/// Whether a message among neighbours is one that a pod may send. One from an address of the pod's own may be anything,
/// but neighbours are told of nobody else's.
#[inline(never)]
fn is_honest(ctx: &TcContext, pod: &Pod, packet: &Packet) -> bool {
    let neighbourly = |kind: &u8| packet.protocol == ICMPV6 && spoof::is_neighbourly(*kind);
    let of_neighbours = spoof::is_link_local(&packet.source) || packet.source == Addr::default();
    // A piece of a packet is no message of neighbours (RFC 6980).
    let kind = if packet.is_whole() {
        frame::header::<u8>(ctx, packet)
    } else {
        None
    };
    let Some(kind) = kind.filter(neighbourly) else {
        return !of_neighbours;
    };
    if kind != spoof::NEIGHBOUR_ADVERTISEMENT {
        return true;
    }
    // Type, code, checksum, flags: four bytes each half.
    let Ok(target) = ctx.load::<[u8; 16]>(packet.header as usize + 8) else {
        return false;
    };
    let target = frame::v6(target);
    spoof::is_link_local(&target) || is_own(pod.workload, &target)
}

/// Whether what a pod says of addresses on its link is about its own: the sender's, or none where it only asks whether
/// somebody has one.
#[inline(never)]
fn is_resolved(ctx: &TcContext, pod: &Pod, packet: &Packet) -> bool {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Arp {
        /// Kinds and lengths of the addresses of both layers.
        kinds: [u8; 6],
        operation: [u8; 2],
        hardware: [u8; 6],
        sender: [u8; 4],
    }
    const ETHERNET_AND_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
    let arp = ctx.load::<Arp>(ETHERNET as usize);
    let honest = arp.is_ok_and(|arp| {
        let sender = frame::v4(arp.sender);
        arp.kinds == ETHERNET_AND_IPV4 && (sender.v4_word() == 0 || is_own(pod.workload, &sender))
    });
    honest || report::foreign(pod, packet)
}

/// Whether an address is the pod's, asked in the order of what it costs.
#[inline(always)]
fn is_own(workload: u32, addr: &Addr) -> bool {
    judge::seen_from(workload, addr).is_some_and(|(_, own)| own == *addr) || owns(workload, addr)
}

/// Whether an address is one of the pod's others, or one that it is allowed.
#[inline(never)]
fn owns(workload: u32, addr: &Addr) -> bool {
    if pod::owner(addr).is_some_and(|owner| owner.id() == workload) {
        return true;
    }
    let key = SourceKey::host(workload, *addr);
    // The kernel frees the elements of this kind of table after a grace period.
    SOURCES.get(&Key::new(key.length, key.source)).is_some()
}

/// Whether the kill switch is off.
#[inline(always)]
pub fn is_enabled() -> bool {
    CONFIG
        .get(0)
        .is_some_and(|config| config.flags & config::flag::DISABLED == 0)
}

/// What a frame without an address of the pod is reported as.
pub const fn foreign(way: Direction) -> (Counter, Option<Reason>) {
    match way {
        Direction::Egress => (Counter::Spoofed, Some(Reason::Spoofed)),
        Direction::Ingress => (Counter::Stray, None),
    }
}

/// The pod's address in a packet, and the other.
#[inline(always)]
pub fn ends(packet: &Packet, way: Direction) -> (Addr, Addr) {
    // Both are read: without `CAP_PERFMON` nothing but constants may be added to an address on the stack.
    // SAFETY: both lie in the packet.
    let (source, destination) = unsafe {
        (
            addr_of!(packet.source).read_volatile(),
            addr_of!(packet.destination).read_volatile(),
        )
    };
    match way {
        Direction::Egress => (source, destination),
        Direction::Ingress => (destination, source),
    }
}

/// What a packet is remembered by, without its ports: named from the pod's point of view.
#[inline(always)]
pub fn key(pod: &Pod, packet: &Packet) -> TrackKey {
    let (_, remote) = ends(packet, pod.way);
    let none = Port::new(0);
    track::key(pod.workload, packet.protocol, none, remote, none)
}

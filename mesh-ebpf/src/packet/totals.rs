//! How many packets passed an interface, and how long they were.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::programs::TcContext;
use mesh_common::packet::{Direction, PacketTotals, places};

use super::{
    frame::{Frame, TCP, UDP},
    skb,
};
use crate::maps::PACKETS;

/// What passed an interface on this CPU.
#[inline(always)]
pub fn of(ifindex: u32) -> Option<&'static mut PacketTotals> {
    places(ifindex).find_map(|place| {
        // SAFETY: the element is this CPU's own; packets of one CPU do not nest within a program.
        let slot = unsafe { &mut *PACKETS.get_ptr_mut(place)? };
        (slot.ifindex == ifindex).then_some(&mut slot.totals)
    })
}

/// Adds a frame.
#[inline(always)]
pub fn add<const FROM_POD: bool>(ctx: &TcContext, totals: &mut PacketTotals, frame: Frame, protocol: u8) {
    // SAFETY: the kernel passes a valid context.
    let len = unsafe { read_volatile(addr_of!((*skb(ctx)).len)) };
    // SAFETY: as above.
    let segments = unsafe { read_volatile(addr_of!((*skb(ctx)).gso_segs)) };
    let count = match frame {
        Frame::Ip if protocol == TCP => &mut totals.tcp,
        Frame::Ip if protocol == UDP => &mut totals.udp,
        Frame::Ip | Frame::Arp | Frame::Other => &mut totals.other,
        Frame::Cut => return,
    };
    count.add(direction::<FROM_POD>(), len, segments);
}

/// Seen from the pod.
#[inline(always)]
pub const fn direction<const FROM_POD: bool>() -> Direction {
    if FROM_POD {
        Direction::Sent
    } else {
        Direction::Received
    }
}

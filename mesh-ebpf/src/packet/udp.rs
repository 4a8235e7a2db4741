//! The UDP flows at an interface.

use core::mem::size_of;

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TcContext};
use mesh_common::{
    counter::Counter,
    packet::{Direction, UdpKey, UdpTraffic},
};

use super::{
    frame::{self, Packet, UDP, port},
    totals::direction,
};
use crate::{count::count, maps::UDP_TRAFFIC};

#[repr(C)]
#[derive(Clone, Copy)]
struct Udp {
    from: [u8; 2],
    to: [u8; 2],
    len: [u8; 2],
    checksum: [u8; 2],
}

/// Adds a datagram to its flow; the flow is named from the pod's point of view. Fragments behind the first have no header;
/// the first one's tells the length of all.
#[inline(always)]
pub fn add<const FROM_POD: bool>(ctx: &TcContext, ifindex: u32, packet: &Packet) {
    if packet.protocol == UDP && (packet.is_whole() || packet.is_first()) {
        add_to_flow(ctx, ifindex, packet, direction::<FROM_POD>());
    }
}

/// A function of its own, since the programs would run out of stack.
#[inline(never)]
fn add_to_flow(ctx: &TcContext, ifindex: u32, packet: &Packet, direction: Direction) {
    let Some(udp) = frame::header::<Udp>(ctx, packet) else {
        return;
    };
    let (from, to) = (
        (packet.source, port(udp.from)),
        (packet.destination, port(udp.to)),
    );
    let (local, remote) = match direction {
        Direction::Sent => (from, to),
        Direction::Received => (to, from),
    };
    let key = UdpKey {
        local: local.0,
        remote: remote.0,
        local_port: local.1,
        remote_port: remote.1,
        ifindex,
    };
    let payload = u64::from(u16::from_be_bytes(udp.len)).saturating_sub(size_of::<Udp>() as u64);
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut flow = UDP_TRAFFIC.get_ptr_mut(key);
    if flow.is_none() {
        // Another CPU may have been faster; then its element is found now.
        let _exists = UDP_TRAFFIC.insert(
            key,
            UdpTraffic {
                first_ns: now,
                ..UdpTraffic::default()
            },
            1,
        );
        flow = UDP_TRAFFIC.get_ptr_mut(key);
    }
    let Some(flow) = flow else {
        count(Counter::UdpTrafficFull);
        return;
    };
    // SAFETY: the element is this CPU's own; packets of one CPU do not nest within a program.
    let flow = unsafe { &mut *flow };
    if flow.first_ns == 0 {
        flow.first_ns = now;
    }
    flow.last_ns = now;
    flow.add(direction, payload);
}

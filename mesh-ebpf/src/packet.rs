//! Packets at the host end of a pod's interface: how many, and which UDP flows they belong to.
//!
//! Every verdict is "next": this program counts and lets other tools' programs and the stack go on.

use core::mem::size_of;

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::classifier, programs::TcContext};
use mesh_common::{
    addr::{Addr, Port},
    counter::Counter,
    packet::{Direction, PacketTotals, UdpKey, UdpTraffic, places},
};

use crate::{
    count::count,
    maps::{PACKETS, UDP_TRAFFIC},
};

/// `TCX_NEXT`, and `TC_ACT_UNSPEC` of clsact: the next program decides.
const NEXT: i32 = -1;

/// `ETH_P_IP` and `ETH_P_IPV6`, as on the wire.
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ETHERNET_LEN: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// What comes out of the pod enters the host here.
#[classifier]
pub fn mesh_from_pod(ctx: TcContext) -> i32 {
    packet::<true>(&ctx);
    NEXT
}

/// What leaves the host here goes into the pod.
#[classifier]
pub fn mesh_to_pod(ctx: TcContext) -> i32 {
    packet::<false>(&ctx);
    NEXT
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv4 {
    version_length: u8,
    tos: u8,
    len: [u8; 2],
    id: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    checksum: [u8; 2],
    from: [u8; 4],
    to: [u8; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv6 {
    version_flow: [u8; 4],
    payload_len: [u8; 2],
    next: u8,
    hops: u8,
    from: [u8; 16],
    to: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Fragment {
    next: u8,
    reserved: u8,
    offset: [u8; 2],
    id: [u8; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Udp {
    from: [u8; 2],
    to: [u8; 2],
    len: [u8; 2],
    checksum: [u8; 2],
}

#[inline(always)]
fn packet<const FROM_POD: bool>(ctx: &TcContext) {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel passes a valid context.
    let (ifindex, len, segments) = unsafe { ((*skb).ifindex, (*skb).len, (*skb).gso_segs) };
    let Some(totals) = totals(ifindex) else { return };
    match at::<[u8; 2]>(ctx, 12) {
        Some(IPV4) => ipv4::<FROM_POD>(ctx, totals, ifindex, len, segments),
        Some(IPV6) => ipv6::<FROM_POD>(ctx, totals, ifindex, len, segments),
        _ => totals.other.add(direction::<FROM_POD>(), len, segments),
    }
}

/// What passed an interface on this CPU.
#[inline(always)]
fn totals(ifindex: u32) -> Option<&'static mut PacketTotals> {
    places(ifindex).find_map(|place| {
        // SAFETY: the element is this CPU's own; packets of one CPU do not nest within a program.
        let slot = unsafe { &mut *PACKETS.get_ptr_mut(place)? };
        (slot.ifindex == ifindex).then_some(&mut slot.totals)
    })
}

#[inline(always)]
fn ipv4<const FROM_POD: bool>(
    ctx: &TcContext,
    totals: &mut PacketTotals,
    ifindex: u32,
    len: u32,
    segments: u32,
) {
    let Some(ip) = at::<Ipv4>(ctx, ETHERNET_LEN) else {
        return;
    };
    match ip.protocol {
        TCP => totals.tcp.add(direction::<FROM_POD>(), len, segments),
        UDP => {
            totals.udp.add(direction::<FROM_POD>(), len, segments);
            // Fragments behind the first have no header; the first one's tells the length of all.
            let offset = u16::from_be_bytes(ip.fragment) & 0x1fff;
            let header = ETHERNET_LEN + usize::from(ip.version_length & 0xf) * 4;
            if offset == 0 {
                let word = |octets: [u8; 4]| Addr::from_v4_word(u32::from_ne_bytes(octets));
                udp::<FROM_POD>(ctx, ifindex, word(ip.from), word(ip.to), header);
            }
        }
        _ => totals.other.add(direction::<FROM_POD>(), len, segments),
    }
}

#[inline(always)]
fn ipv6<const FROM_POD: bool>(
    ctx: &TcContext,
    totals: &mut PacketTotals,
    ifindex: u32,
    len: u32,
    segments: u32,
) {
    const HEADER: usize = ETHERNET_LEN + size_of::<Ipv6>();
    let Some(ip) = at::<Ipv6>(ctx, ETHERNET_LEN) else {
        return;
    };
    let (protocol, first, header) = match ip.next {
        FRAGMENT => {
            let Some(fragment) = at::<Fragment>(ctx, HEADER) else {
                return;
            };
            let first = u16::from_be_bytes(fragment.offset) & 0xfff8 == 0;
            (fragment.next, first, HEADER + size_of::<Fragment>())
        }
        next => (next, true, HEADER),
    };
    match protocol {
        TCP => totals.tcp.add(direction::<FROM_POD>(), len, segments),
        UDP => {
            totals.udp.add(direction::<FROM_POD>(), len, segments);
            if first {
                udp::<FROM_POD>(ctx, ifindex, addr(ip.from), addr(ip.to), header);
            }
        }
        _ => totals.other.add(direction::<FROM_POD>(), len, segments),
    }
}

/// Adds a datagram to its flow; the flow is named from the pod's point of view.
#[inline(always)]
fn udp<const FROM_POD: bool>(ctx: &TcContext, ifindex: u32, from: Addr, to: Addr, header: usize) {
    let Some(udp) = udp_header(ctx, header) else {
        return;
    };
    let (from_port, to_port) = (port(udp.from), port(udp.to));
    let (local, remote) = if FROM_POD {
        ((from, from_port), (to, to_port))
    } else {
        ((to, to_port), (from, from_port))
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
    flow.add(direction::<FROM_POD>(), payload);
}

#[inline(always)]
fn direction<const FROM_POD: bool>() -> Direction {
    if FROM_POD {
        Direction::Sent
    } else {
        Direction::Received
    }
}

#[inline(always)]
fn addr(octets: [u8; 16]) -> Addr {
    let word = |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
    Addr([word(0), word(4), word(8), word(12)])
}

#[inline(always)]
fn port(octets: [u8; 2]) -> Port {
    Port::new(u16::from_be_bytes(octets))
}

/// Nearly always right behind an IP header of the usual length. Elsewhere the kernel copies it: without `CAP_PERFMON`
/// nothing but constants may be added to a packet's address.
#[inline(always)]
fn udp_header(ctx: &TcContext, at_byte: usize) -> Option<Udp> {
    const BEHIND_IPV4: usize = ETHERNET_LEN + size_of::<Ipv4>();
    const BEHIND_IPV6: usize = ETHERNET_LEN + size_of::<Ipv6>();
    match at_byte {
        BEHIND_IPV4 => at(ctx, BEHIND_IPV4),
        BEHIND_IPV6 => at(ctx, BEHIND_IPV6),
        _ => ctx.load(at_byte).ok(),
    }
}

/// A header in the linear part of the packet; the stack puts all headers there.
#[inline(always)]
fn at<T: Copy>(ctx: &TcContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: the bytes lie within the packet, as just compared; headers are made of bytes, so any alignment will do.
    Some(unsafe { (start as *const T).read_unaligned() })
}

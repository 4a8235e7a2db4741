//! ICMP, which policies cannot name.

use aya_ebpf::programs::TcContext;
use mesh_common::{
    conntrack::TrackKey,
    counter::Counter,
    decide::{
        icmp::{self, Use},
        track::Ruling,
    },
    policy::{Direction, OPEN, Transport},
};

use super::{
    frame::{self, ICMP, ICMPV6, Ipv4, Ipv6, Packet, TCP, UDP, port},
    guard::{self, Pod},
    police, report,
};
use crate::{count::count, track};

/// Length of the header, behind which an error quotes.
const HEADER: u32 = 8;

/// Whether a message passes; `None` where it is like any protocol without ports. A function of its own, since the stack is
/// short.
#[inline(never)]
pub fn passes(ctx: &TcContext, pod: &Pod, packet: &Packet) -> Option<bool> {
    let v4 = packet.source.is_v4();
    // Each family has its own.
    if v4 != (packet.protocol == ICMP) {
        return None;
    }
    let Some(kind) = frame::header::<u8>(ctx, packet) else {
        return Some(pod.sets.of(pod.way) == OPEN || report::unreadable(pod, packet));
    };
    match if v4 { icmp::v4(kind) } else { icmp::v6(kind) } {
        Use::Upkeep => {}
        Use::Error if concerns(ctx, pod, packet) => {}
        Use::Error => {
            let key = guard::key(pod, packet);
            let ruling = police::rule(pod, &key, pod.way);
            report::said(pod, &report::Flow { key: &key, packet }, pod.way, ruling);
            return Some(!matches!(ruling, Ruling::Denied));
        }
        Use::Other => return None,
    }
    count(match pod.way {
        Direction::Egress => Counter::UpkeepEgress,
        Direction::Ingress => Counter::UpkeepIngress,
    });
    Some(true)
}

/// Whether an error is about a packet of a flow that is known, or that policies let pass. A function of its own, since the
/// stack is short.
#[inline(never)]
fn concerns(ctx: &TcContext, pod: &Pod, packet: &Packet) -> bool {
    let mut key = guard::key(pod, packet);
    if !quoted(ctx, pod, packet, &mut key) {
        return false;
    }
    if matches!(key.protocol, ICMP | ICMPV6) {
        // Only an echo is quoted to whom it concerns: errors are not answered with errors.
        return true;
    }
    if track::knows(&key) {
        return true;
    }
    let opens = |direction| !matches!(police::rule(pod, &key, direction), Ruling::Denied);
    opens(Direction::Egress) || opens(Direction::Ingress)
}

/// The flow of the packet that an error quotes, seen from the pod.
#[inline(never)]
fn quoted(ctx: &TcContext, pod: &Pod, packet: &Packet, key: &mut TrackKey) -> bool {
    let at = packet.header + HEADER;
    let (source, destination, protocol, header) = if packet.source.is_v4() {
        let Ok(ip) = ctx.load::<Ipv4>(at as usize) else {
            return false;
        };
        if ip.offset() != 0 {
            return false;
        }
        let (from, to) = (frame::v4(ip.from), frame::v4(ip.to));
        (from, to, ip.protocol, at + ip.length())
    } else {
        let Ok(ip) = ctx.load::<Ipv6>(at as usize) else {
            return false;
        };
        let (from, to) = (frame::v6(ip.from), frame::v6(ip.to));
        (from, to, ip.next, at + frame::length::<Ipv6>())
    };
    // What is told to the pod was sent by it, and the other way round.
    let sent = matches!(pod.way, Direction::Ingress);
    key.remote = if sent { destination } else { source };
    key.protocol = protocol;
    if protocol == TCP || protocol == UDP || protocol == Transport::Sctp as u8 {
        let Ok([from, to]) = ctx.load::<[[u8; 2]; 2]>(header as usize) else {
            return false;
        };
        (key.local_port, key.remote_port) = if sent {
            (port(from), port(to))
        } else {
            (port(to), port(from))
        };
    }
    true
}

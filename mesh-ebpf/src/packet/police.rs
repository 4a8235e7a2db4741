//! What a pod's policies say of a packet.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TcContext};
use mesh_common::{
    config,
    conntrack::{FRAGMENT_NS, FragmentKey, TrackKey, flag},
    counter::Counter,
    decide::track::{self as decide, Change, Decision, Ruling, Segment, Standing},
    policy::{Direction, OPEN, Transport},
    rules::{self, Sets},
};

use super::{
    frame::{self, ICMP, ICMPV6, Packet, Piece, TCP, port},
    guard::{self, Pod},
    icmp,
    report::{self, Subject},
    skb,
};
use crate::{
    count::count,
    judge::{self, Flow, Judgement},
    maps::{CONFIG, FRAGMENTS},
    pod, track,
};

/// Whether a packet of a pod under policies passes. A function of its own, since most pods have none.
#[inline(never)]
pub fn passes(ctx: &TcContext, pod: &Pod, packet: &Packet) -> bool {
    let Some(config) = CONFIG.get(0) else { return true };
    if config.flags & config::flag::DISABLED != 0 {
        return true;
    }
    let policy = config.policy;
    // SAFETY: the kernel passes a valid context.
    let tagged = unsafe { read_volatile(addr_of!((*skb(ctx)).vlan_present)) } != 0;
    let readable = match packet.piece {
        _ if tagged => false,
        Piece::Unreadable => false,
        Piece::Later => follows(pod, packet),
        Piece::Whole | Piece::First => true,
    };
    if !readable {
        return pod.sets.of(pod.way) == OPEN || report::unreadable(pod, Some(packet));
    }
    if packet.piece == Piece::Later {
        return true;
    }
    let passes = match packet.protocol {
        TCP => segment(ctx, pod, packet, policy),
        ICMP | ICMPV6 => icmp::passes(ctx, pod, packet).unwrap_or_else(|| datagram(ctx, pod, packet, policy)),
        _ => datagram(ctx, pod, packet, policy),
    };
    if passes && packet.piece == Piece::First {
        // Where there is no room the other pieces are dropped, and counted.
        let _full = FRAGMENTS.insert(pieces(pod, packet), now(), 0);
    }
    passes
}

#[inline(never)]
fn datagram(ctx: &TcContext, pod: &Pod, packet: &Packet, policy: u32) -> bool {
    let mut subject = guard::seen_from_pod(packet, pod.way);
    if has_ports(packet.protocol) && !read_ports(ctx, pod, packet, &mut subject) {
        return pod.sets.of(pod.way) == OPEN || report::unreadable(pod, Some(packet));
    }
    let key = key(pod, &subject);
    let (entry, last_ns) = track::datagram(&key, now());
    let standing = decide::standing(entry, policy, is_audited(pod));
    let decision = decide::datagram(
        pod.way,
        standing,
        || is_hosts(ctx, packet),
        |direction| rule(pod.sets, &subject, direction),
    );
    match decision.change {
        Change::None | Change::Forget => {}
        Change::Refresh => track::refresh(&key, last_ns, now()),
        Change::Enter(flags) => {
            let known = !matches!(standing, Standing::Unknown) || flags & flag::HOST != 0;
            if known || report::may(pod.workload, false) {
                track::enter(&key, policy, flags, now());
            } else {
                count(Counter::FlowQuota);
            }
        }
    }
    conclude(pod, &subject, &decision)
}

#[inline(never)]
fn segment(ctx: &TcContext, pod: &Pod, packet: &Packet, policy: u32) -> bool {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Tcp {
        from: [u8; 2],
        to: [u8; 2],
        numbers: [u8; 8],
        length: u8,
        flags: u8,
    }
    let Some(tcp) = frame::header::<Tcp>(ctx, packet) else {
        return pod.sets.of(pod.way) == OPEN || report::unreadable(pod, Some(packet));
    };
    let mut subject = guard::seen_from_pod(packet, pod.way);
    set_ports(pod, &mut subject, tcp.from, tcp.to);
    let key = key(pod, &subject);
    let standing = decide::standing(track::connection(&key), policy, is_audited(pod));
    // SAFETY: the kernel passes a valid context.
    let len = unsafe { read_volatile(addr_of!((*skb(ctx)).len)) };
    let end = if packet.end == 0 { len } else { packet.end };
    let segment = Segment {
        flags: tcp.flags,
        payload: end > packet.header + u32::from(tcp.length >> 4) * 4,
    };
    let decision = decide::segment(
        pod.way,
        segment,
        standing,
        || is_hosts(ctx, packet),
        |direction| rule(pod.sets, &subject, direction),
    );
    match decision.change {
        Change::None | Change::Refresh => {}
        Change::Forget => track::forget_connection(&key),
        Change::Enter(flags) => track::enter_connection(&key, policy, flags),
    }
    conclude(pod, &subject, &decision)
}

#[inline(always)]
fn conclude(pod: &Pod, subject: &Subject, decision: &Decision) -> bool {
    if let Some((direction, ruling)) = decision.said {
        report::said(pod, subject, direction, ruling);
    }
    decision.passes
}

/// What the policies say of a flow in a direction. A function of its own, since the stack is short.
#[inline(never)]
pub fn rule(sets: Sets, subject: &Subject, direction: Direction) -> Ruling {
    if sets.of(direction) == OPEN {
        return Ruling::Open;
    }
    let flow = Flow {
        peer: judge::class_of(&subject.remote),
        protocol: subject.protocol,
        port: match direction {
            Direction::Egress => subject.remote_port,
            Direction::Ingress => subject.local_port,
        },
    };
    match judge::judge(sets, direction, flow) {
        Judgement::Open => Ruling::Open,
        Judgement::Allowed => Ruling::Allowed,
        Judgement::Denied { audited: true, .. } => Ruling::Audited,
        Judgement::Denied { audited: false, .. } => Ruling::Denied,
    }
}

/// Whether a packet towards a pod was sent by this host itself: no interface received it, and its source is no pod's. A
/// socket at the packet would not do: copies that a bridge sends everywhere have none.
#[inline(never)]
fn is_hosts(ctx: &TcContext, packet: &Packet) -> bool {
    // SAFETY: the kernel passes a valid context.
    let received_by = unsafe { read_volatile(addr_of!((*skb(ctx)).ingress_ifindex)) };
    received_by == 0 && pod::owner(&packet.source).is_none()
}

/// Whether the first piece of the same packet passed.
#[inline(always)]
fn follows(pod: &Pod, packet: &Packet) -> bool {
    let Some(passed) = FRAGMENTS.get_ptr(pieces(pod, packet)) else {
        return false;
    };
    // SAFETY: `passed` points into the map's value for as long as the program runs.
    let passed = unsafe { read_volatile(passed) };
    now().saturating_sub(passed) < FRAGMENT_NS
}

#[inline(always)]
fn pieces(pod: &Pod, packet: &Packet) -> FragmentKey {
    FragmentKey {
        pod: pod.workload,
        source: packet.source,
        destination: packet.destination,
        id: packet.id,
        direction: pod.way as u8,
        reserved: [0; 3],
    }
}

#[inline(always)]
const fn has_ports(protocol: u8) -> bool {
    protocol == Transport::Udp as u8 || protocol == Transport::Sctp as u8
}

#[inline(always)]
fn read_ports(ctx: &TcContext, pod: &Pod, packet: &Packet, subject: &mut Subject) -> bool {
    let Some([from, to]) = frame::header::<[[u8; 2]; 2]>(ctx, packet) else {
        return false;
    };
    set_ports(pod, subject, from, to);
    true
}

#[inline(always)]
const fn set_ports(pod: &Pod, subject: &mut Subject, from: [u8; 2], to: [u8; 2]) {
    (subject.local_port, subject.remote_port) = match pod.way {
        Direction::Egress => (port(from), port(to)),
        Direction::Ingress => (port(to), port(from)),
    };
}

/// What the flow is remembered by.
#[inline(always)]
pub const fn key(pod: &Pod, subject: &Subject) -> TrackKey {
    track::key(
        pod.workload,
        subject.protocol,
        subject.local_port,
        subject.remote,
        subject.remote_port,
    )
}

#[inline(always)]
const fn is_audited(pod: &Pod) -> bool {
    pod.sets.flags() & rules::flag::AUDIT != 0
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

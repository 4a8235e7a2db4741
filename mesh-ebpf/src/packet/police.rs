//! What a pod's policies say of a packet.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TcContext};
use mesh_common::{
    config,
    conntrack::{FRAGMENT_NS, FragmentKey, TrackKey, flag},
    counter::Counter,
    decide::track::{self as decide, Change, Decision, Ruling, Segment, Standing},
    inbound::Inbound,
    policy::{Direction, OPEN, Transport},
    rules,
};

use super::{
    frame::{self, ICMP, ICMPV6, Packet, TCP, port},
    guard::{self, Pod},
    icmp, report, skb,
};
use crate::{
    count::count,
    hosts,
    judge::{self, Flow, Judgement},
    maps::{CONFIG, FRAGMENTS},
    pod, track,
};

/// Whether a packet of a pod under policies passes.
#[inline(always)]
pub fn passes(ctx: &TcContext, pod: &Pod, packet: &Packet) -> bool {
    let Some(config) = CONFIG.get(0) else { return true };
    if config.flags & config::flag::DISABLED != 0 {
        return true;
    }
    let policy = config.policy;
    // SAFETY: the kernel passes a valid context.
    let tagged = unsafe { read_volatile(addr_of!((*skb(ctx)).vlan_present)) } != 0;
    if tagged || !packet.is_readable() {
        return pod.sets.of(pod.way) == OPEN || report::unreadable(pod, packet);
    }
    if packet.is_later() {
        return pod.sets.of(pod.way) == OPEN || follows(pod, packet) || report::unreadable(pod, packet);
    }
    let passes = match packet.protocol {
        TCP => segment(ctx, pod, packet, policy),
        ICMP | ICMPV6 => icmp::passes(ctx, pod, packet).unwrap_or_else(|| datagram(ctx, pod, packet, policy)),
        _ => datagram(ctx, pod, packet, policy),
    };
    if passes && packet.is_first() {
        lead(pod, packet);
    }
    passes
}

#[inline(never)]
fn datagram(ctx: &TcContext, pod: &Pod, packet: &Packet, policy: u32) -> bool {
    let mut key = guard::key(pod, packet);
    if has_ports(packet.protocol) {
        let Some([from, to]) = frame::header::<[[u8; 2]; 2]>(ctx, packet) else {
            return pod.sets.of(pod.way) == OPEN || report::unreadable(pod, packet);
        };
        set_ports(pod, &mut key, from, to);
    }
    let (entry, last_ns) = track::datagram(&key, now());
    let standing = decide::standing(entry, policy, is_audited(pod));
    let decision = decide::datagram(
        pod.way,
        standing,
        || is_hosts(pod, packet),
        |direction| rule(pod, &key, direction),
    );
    match decision.change {
        Change::None | Change::Forget => {}
        Change::Refresh => track::refresh(&key, last_ns, now()),
        Change::Enter(flags) => {
            let known = !matches!(standing, Standing::Unknown) || flags & flag::HOST != 0;
            if known || report::may_enter(pod.workload, flags & flag::BY_PEER != 0) {
                track::enter(&key, policy, flags, now());
            } else {
                count(Counter::FlowQuota);
            }
        }
    }
    conclude(pod, &report::Flow { key: &key, packet }, &decision)
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
        return pod.sets.of(pod.way) == OPEN || report::unreadable(pod, packet);
    };
    let mut key = guard::key(pod, packet);
    set_ports(pod, &mut key, tcp.from, tcp.to);
    let standing = decide::standing(track::connection(&key), policy, is_audited(pod));
    // SAFETY: the kernel passes a valid context.
    let len = unsafe { read_volatile(addr_of!((*skb(ctx)).len)) };
    let end = if packet.end == 0 { len } else { packet.end };
    let segment = Segment {
        flags: tcp.flags,
        payload: end > packet.header + u32::from(tcp.length >> 4) * 4,
    };
    let asks = segment.asks_pod(pod.way);
    let decision = decide::segment(
        pod.way,
        segment,
        standing,
        || is_hosts(pod, packet) && (!asks || note(&key, packet)),
        |direction| rule(pod, &key, direction),
    );
    match decision.change {
        Change::None | Change::Refresh => {}
        Change::Forget => track::forget_connection(&key),
        Change::Enter(flags) => track::enter_connection(&key, policy, flags),
    }
    // At the listener the same is asked once more, and counted.
    if asks && decision.passes {
        return true;
    }
    conclude(pod, &report::Flow { key: &key, packet }, &decision)
}

/// The host's own socket asks: the listener could not tell, where the address it dialled was translated on the way.
#[inline(never)]
fn note(key: &TrackKey, packet: &Packet) -> bool {
    // Both are read: without `CAP_PERFMON` nothing but constants may be added to an address on the stack.
    // SAFETY: both lie in the key.
    let (local_port, remote_port) = unsafe {
        (
            read_volatile(addr_of!(key.local_port)),
            read_volatile(addr_of!(key.remote_port)),
        )
    };
    hosts::remember(&Inbound {
        local: packet.destination,
        remote: packet.source,
        local_port,
        remote_port,
    });
    true
}

#[inline(always)]
fn conclude(pod: &Pod, flow: &report::Flow<'_>, decision: &Decision) -> bool {
    if let Some(ruling) = decision.said {
        report::said(pod, flow, decision.direction, ruling);
    }
    decision.passes
}

/// What the policies say of a flow in a direction. A function of its own, since the stack is short.
#[inline(never)]
pub fn rule(pod: &Pod, key: &TrackKey, direction: Direction) -> Ruling {
    let sets = pod.sets;
    if sets.of(direction) == OPEN {
        return Ruling::Open;
    }
    // Both are read: without `CAP_PERFMON` nothing but constants may be added to an address on the stack.
    // SAFETY: both lie in the key.
    let (remote_port, local_port) = unsafe {
        (
            read_volatile(addr_of!(key.remote_port)),
            read_volatile(addr_of!(key.local_port)),
        )
    };
    let flow = Flow {
        peer: judge::class_of(&key.remote),
        protocol: key.protocol,
        port: match direction {
            Direction::Egress => remote_port,
            Direction::Ingress => local_port,
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
fn is_hosts(pod: &Pod, packet: &Packet) -> bool {
    pod.from == 0 && pod::owner(&packet.source).is_none()
}

/// Lets the other pieces of a packet follow. Where there is no room they are dropped, and counted.
#[inline(never)]
fn lead(pod: &Pod, packet: &Packet) {
    let _full = FRAGMENTS.insert(pieces(pod, packet), now(), 0);
}

/// Whether the first piece of the same packet passed.
#[inline(never)]
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
const fn set_ports(pod: &Pod, key: &mut TrackKey, from: [u8; 2], to: [u8; 2]) {
    (key.local_port, key.remote_port) = match pod.way {
        Direction::Egress => (port(from), port(to)),
        Direction::Ingress => (port(to), port(from)),
    };
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

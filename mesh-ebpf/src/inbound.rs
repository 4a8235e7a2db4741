//! May somebody open a TCP connection to a pod of this node? Asked in the pod's own network namespace where its listener
//! is looked up, whoever sent the SYN: another pod, another node, something outside of the mesh. Where the answer is no
//! there is no listener, so the kernel sends a reset and the caller sees ECONNREFUSED at once.
//!
//! One program serves all pods: whose listener it is, the local address tells. Established connections never come here. What
//! comes is every segment that no socket claims: the SYN, a second time the ACK of a SYN cookie, and strays. They can't be
//! told apart, so the verdict of a handshake is the same each time it is asked for, and a refusal that comes again within
//! seconds is counted once.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{
    bindings::sk_action::{SK_DROP, SK_PASS},
    helpers::bpf_ktime_get_ns,
    macros::sk_lookup,
    programs::SkLookupContext,
};
use mesh_common::{
    addr::{Addr, Port, Protocol},
    counter::Counter,
    flow::EventKind,
    inbound::{Inbound, REPEATED_MS, Stamp},
    policy::{Denial, Direction, Hook, OPEN},
    rules::Sets,
    tag::Tagged,
    workload::flag,
};

use crate::{
    count::count,
    emit, hosts,
    judge::{self, Flow, Judgement},
    maps::REFUSED,
    pod,
};

/// `AF_INET6`.
const AF_INET6: u32 = 10;

/// Runs in the network namespaces of the pods in the mesh, and in no other.
#[sk_lookup]
pub fn mesh_inbound(ctx: SkLookupContext) -> u32 {
    if passes(&ctx) { SK_PASS } else { SK_DROP }
}

#[inline(always)]
fn passes(ctx: &SkLookupContext) -> bool {
    // SAFETY: the kernel passes a valid context.
    let protocol = unsafe { read_volatile(addr_of!((*ctx.lookup).protocol)) };
    if protocol != Protocol::Tcp as u32 {
        return true;
    }
    let asked = asked(ctx);
    // What a pod asks of itself comes over loopback, whatever address it dials.
    if asked.local == asked.remote || asked.local.is_loopback() {
        return true;
    }
    let here = flag::LOCAL | flag::ENROLLED;
    // An address that is no pod's here is that of another interface of the pod, which policies do not cover.
    let Some(owner) = pod::owner(&asked.local).filter(|owner| owner.flags() & here == here) else {
        return true;
    };
    let sets = judge::sets(owner.id());
    let is_open = sets.map_or(owner.flags() & flag::CLOSED == 0, |sets| {
        sets.of(Direction::Ingress) == OPEN
    });
    is_open || !pod::enabled() || allowed(&asked, owner, sets)
}

/// What the pod's rules say, counted and reported.
#[inline(always)]
fn allowed(asked: &Inbound, owner: Tagged, sets: Option<Sets>) -> bool {
    let said = sets.map(|sets| judged(asked, sets));
    let (set, audited) = match said {
        Some(Judgement::Open) => return true,
        Some(Judgement::Allowed) => {
            count(Counter::AllowedIngress);
            return true;
        }
        Some(Judgement::Denied { set, audited }) => (set, audited),
        // Nothing is known of the pod yet, and its namespace fails closed.
        None => (0, false),
    };
    if hosts::ask(asked) || pod::owner(&asked.remote).is_some_and(|peer| peer.id() == owner.id()) {
        return true;
    }
    if is_new(asked) {
        let (kind, counter) = match (said.is_some(), audited) {
            (false, _) => (EventKind::Pending, Counter::Pending),
            (true, true) => (EventKind::Audited, Counter::AuditedIngress),
            (true, false) => (EventKind::Denied, Counter::DeniedIngress),
        };
        count(counter);
        let denial = Denial {
            set,
            direction: Direction::Ingress as u8,
            hook: Hook::Listener as u8,
            reason: 0,
            reserved: 0,
        };
        emit::refused_inbound(kind, owner.id(), asked, &denial);
    }
    audited
}

#[inline(always)]
fn judged(asked: &Inbound, sets: Sets) -> Judgement {
    let flow = Flow {
        peer: judge::class_of(&asked.remote),
        protocol: Protocol::Tcp as u8,
        port: asked.local_port,
    };
    judge::judge(sets, Direction::Ingress, flow)
}

/// Whether a refusal is not one of a moment ago that comes again. Each time counts as the last, so that a SYN that is
/// repeated is one as long as it is repeated often.
#[inline(never)]
fn is_new(asked: &Inbound) -> bool {
    // SAFETY: the helper has no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let again = REFUSED.get_ptr(asked).is_some_and(|stamp| {
        // SAFETY: `stamp` points into the map's value for as long as the program runs; one word, read at once.
        let stamp: Stamp = unsafe { read_volatile(stamp) };
        stamp.holds(asked, now_ns, REPEATED_MS)
    });
    // Where it can't be noted it may be counted twice.
    let _noted = REFUSED.insert(asked, Stamp::new(asked, now_ns), 0);
    !again
}

/// Who asks for what.
#[inline(always)]
fn asked(ctx: &SkLookupContext) -> Inbound {
    let lookup = ctx.lookup;
    // SAFETY: the kernel passes a valid context.
    let family = unsafe { read_volatile(addr_of!((*lookup).family)) };
    let (local, remote) = if family == AF_INET6 { v6(ctx) } else { v4(ctx) };
    // The local port is in host order, the remote one in network order.
    // SAFETY: as above.
    let (local_port, remote_port) = unsafe {
        (
            read_volatile(addr_of!((*lookup).local_port)),
            read_volatile(addr_of!((*lookup).remote_port)),
        )
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel keeps 16 bits in this word"
    )]
    Inbound {
        local,
        remote,
        local_port: Port::new(local_port as u16),
        remote_port: Port::from_network(remote_port),
    }
}

/// Both ends: local, remote. A function of its own, as is the other: side by side the compiler makes one load of the two, at
/// an offset that it computes, and the verifier refuses that.
#[inline(never)]
fn v4(ctx: &SkLookupContext) -> (Addr, Addr) {
    let lookup = ctx.lookup;
    // SAFETY: the kernel passes a valid context.
    let words = unsafe {
        (
            read_volatile(addr_of!((*lookup).local_ip4)),
            read_volatile(addr_of!((*lookup).remote_ip4)),
        )
    };
    (Addr::from_v4_word(words.0), Addr::from_v4_word(words.1))
}

#[inline(never)]
fn v6(ctx: &SkLookupContext) -> (Addr, Addr) {
    let lookup = ctx.lookup;
    // SAFETY: the kernel passes a valid context.
    let local = |at: usize| unsafe { read_volatile(addr_of!((*lookup).local_ip6[at])) };
    // SAFETY: as above.
    let remote = |at: usize| unsafe { read_volatile(addr_of!((*lookup).remote_ip6[at])) };
    (
        Addr([local(0), local(1), local(2), local(3)]),
        Addr([remote(0), remote(1), remote(2), remote(3)]),
    )
}

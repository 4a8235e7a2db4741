//! May a pod's socket send there? Asked before the first packet, so that the caller knows at once.
//!
//! The pod's own policies are asked for everything, those of a destination on this node for UDP: a refused TCP
//! handshake comes back at once anyway, a datagram that is dropped on its way says nothing.

use aya_ebpf::programs::SockAddrContext;
use mesh_common::{
    addr::{Addr, Port, Protocol},
    counter::Counter,
    flow::EventKind,
    policy::{Denial, Direction, Hook, OPEN},
    service::Frontend,
    workload::flag,
};

use crate::{
    backend::Chosen,
    context,
    count::count,
    emit,
    judge::{self, Flow, Judgement},
    pod::{self, Pod},
    refuse::{self, Asked},
    track,
};

/// An address and a port, without a gap: unset bytes of the stack can't be copied without `CAP_PERFMON`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Place {
    /// The address.
    pub addr: Addr,
    /// The port.
    pub port: Port,
    gap: u16,
}

impl Place {
    /// An address and a port.
    #[inline(always)]
    pub const fn new(addr: Addr, port: Port) -> Self {
        Self { addr, port, gap: 0 }
    }
}

/// What a socket wants to send, and where.
pub struct Passage<'a> {
    /// Who asked for what.
    pub asked: &'a Asked<'a>,
    /// Where that leads.
    pub to: Place,
    /// The protocol.
    pub protocol: Protocol,
}

/// Where a question leads: to the backend that was chosen for it, else where it says.
#[inline(always)]
pub fn leads(asked: &Frontend, chosen: Option<&Chosen>) -> Place {
    match chosen {
        Some(chosen) => Place::new(chosen.backend.addr, chosen.backend.port),
        None => Place::new(asked.addr, asked.port),
    }
}

/// Whether it may not: the caller's error is set, and the hook is to return [`context::REJECT`]. A function of its own, since
/// hooks would run out of stack; its answer is a flag, since Linux 6.1 knows nothing of a hook's value that was kept on
/// the stack.
#[inline(never)]
pub fn refused(ctx: &SockAddrContext, passage: &Passage<'_>) -> bool {
    let (pod, protocol) = (passage.asked.pod, passage.protocol);
    let Place { addr: to, port, .. } = passage.to;
    if to.is_loopback() {
        return false;
    }
    let Some(sets) = judge::sets(pod.workload) else {
        // Nothing is known of the pod yet: its namespace's fail mode decides.
        let closed = pod.flags & flag::CLOSED != 0;
        if closed {
            refuse::pending(pod, passage.asked.frontend);
        }
        return closed;
    };
    let owner = pod::owner(&to);
    if owner.is_some_and(|owner| owner.id() == pod.workload) {
        return false;
    }
    let flow = |peer| Flow {
        peer,
        protocol: protocol as u8,
        port,
    };
    if sets.of(Direction::Egress) != OPEN {
        let said = judge::judge(sets, Direction::Egress, flow(judge::class_of(&to)));
        let answers = || protocol == Protocol::Udp && answers(ctx, pod, to, port);
        if outcome(passage, said, Direction::Egress, answers) {
            return true;
        }
    }
    let here = flag::LOCAL | flag::ENROLLED;
    let owner = owner.filter(|owner| protocol == Protocol::Udp && owner.flags() & here == here);
    let Some(owner) = owner else { return false };
    let Some(theirs) = judge::sets(owner.id()) else {
        return false;
    };
    if theirs.of(Direction::Ingress) == OPEN {
        return false;
    }
    let Some((class, own)) = judge::seen_from(pod.workload, &to) else {
        return false;
    };
    let said = judge::judge(theirs, Direction::Ingress, flow(class));
    let is_answer = || is_answer(ctx, owner.id(), own, port);
    outcome(passage, said, Direction::Ingress, is_answer)
}

/// Counts and reports what was said; whether it is refused.
#[inline(always)]
fn outcome(
    passage: &Passage<'_>,
    said: Judgement,
    direction: Direction,
    is_reply: impl FnOnce() -> bool,
) -> bool {
    let egress = direction as u8 == Direction::Egress as u8;
    let either = |of_egress, of_ingress| if egress { of_egress } else { of_ingress };
    match said {
        Judgement::Open => false,
        Judgement::Allowed => {
            count(either(Counter::AllowedEgress, Counter::AllowedIngress));
            false
        }
        Judgement::Denied { .. } if is_reply() => false,
        Judgement::Denied { set, audited } => {
            let denial = Denial {
                set,
                direction: direction as u8,
                hook: Hook::Socket as u8,
                reason: 0,
                reserved: 0,
            };
            let kind = if audited {
                EventKind::Audited
            } else {
                EventKind::Denied
            };
            emit::refused(kind, passage.asked, &passage.to, &denial);
            if audited {
                count(either(Counter::AuditedEgress, Counter::AuditedIngress));
                return false;
            }
            count(either(Counter::DeniedEgress, Counter::DeniedIngress));
            refuse::denied();
            true
        }
    }
}

/// Whether a datagram answers one that came from there.
#[inline(always)]
fn answers(ctx: &SockAddrContext, pod: &Pod, to: Addr, port: Port) -> bool {
    let local = context::local_port(ctx);
    track::answers(&track::key(pod.workload, Protocol::Udp as u8, local, to, port))
}

/// Whether a datagram from an address of the pod answers one that the pod there sent.
#[inline(always)]
fn is_answer(ctx: &SockAddrContext, owner: u32, own: Addr, port: Port) -> bool {
    let local = context::local_port(ctx);
    track::is_answer(&track::key(owner, Protocol::Udp as u8, port, own, local))
}

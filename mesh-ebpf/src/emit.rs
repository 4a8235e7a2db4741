//! Sends events to user space, and counts those that found no room.

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_ringbuf_query};
use mesh_common::{
    abi::size,
    accel::Moved,
    addr::{Addr, Protocol},
    conntrack::TrackKey,
    counter::Counter,
    flow::{EventKind, FlowEvent, TcpFigures},
    inbound::Inbound,
    policy::{Denial, Direction},
    sock::{SockState, flag},
};

use crate::{count::count, maps::EVENTS, permit::Place, pod, refuse::Asked, storage};

/// `BPF_RB_AVAIL_DATA`: bytes not read yet.
const AVAILABLE: u64 = 0;
/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`.
const FORCE_WAKEUP: u64 = 2;

/// Sends one event of a TCP connection. The reader looks several times a second; it is woken only when the
/// buffer fills, since waking a process costs more than the event.
#[inline(always)]
pub fn event(kind: EventKind, sock: &SockState, tcp: &TcpFigures, received: Moved) {
    send(|at_ns| FlowEvent {
        kind: kind as u32,
        protocol: Protocol::Tcp as u32,
        at_ns,
        sock: *sock,
        tcp: *tcp,
        received,
        denial: Denial::default(),
    });
}

/// Sends word of a socket or datagram that was refused at once, or would have been.
///
/// The record is cleared and filled where it lies: made of a default value it would take half of the stack. A function of
/// its own for the same reason. What it needs comes in registers: a pointer that lay in a value on the stack keeps its
/// place there for good without `CAP_PERFMON`.
#[inline(never)]
pub fn refused(kind: EventKind, asked: &Asked<'_>, to: &Place, denial: &Denial) {
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(Counter::EventsLost);
        return;
    };
    let event: *mut FlowEvent = entry.as_mut_ptr();
    storage::zero(event);
    let Asked {
        pod,
        frontend,
        service,
    } = *asked;
    // SAFETY: the record was reserved just now, and all zero is a valid one.
    let event = unsafe { &mut *event };
    event.kind = kind as u32;
    event.protocol = u32::from(frontend.protocol);
    // SAFETY: the helper has no preconditions.
    event.at_ns = unsafe { bpf_ktime_get_ns() };
    event.denial = *denial;
    let sock = &mut event.sock;
    (sock.asked_addr, sock.asked_port) = (frontend.addr, frontend.port);
    (sock.service, sock.pod, sock.netns) = (service, pod.workload, pod.netns);
    sock.flags = if pod.pending { flag::PENDING } else { 0 };
    (sock.remote_addr, sock.remote_port) = (to.addr, to.port);
    sock.peer = pod::workload_at(&to.addr);
    entry.submit(if is_filling() { FORCE_WAKEUP } else { NO_WAKEUP });
}

/// Sends word of a packet that was refused, or would have been, seen from the pod. Cleared and filled where it lies, as
/// [`refused`].
#[inline(never)]
pub fn packet(flow: &TrackKey, local: &Addr, kind: EventKind, denial: Denial) {
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(Counter::EventsLost);
        return;
    };
    let event: *mut FlowEvent = entry.as_mut_ptr();
    storage::zero(event);
    // SAFETY: the record was reserved just now, and all zero is a valid one.
    let event = unsafe { &mut *event };
    event.kind = kind as u32;
    event.protocol = u32::from(flow.protocol);
    // SAFETY: the helper has no preconditions.
    event.at_ns = unsafe { bpf_ktime_get_ns() };
    event.denial = denial;
    let sock = &mut event.sock;
    (sock.local_addr, sock.local_port) = (*local, flow.local_port);
    (sock.remote_addr, sock.remote_port) = (flow.remote, flow.remote_port);
    let ingress = denial.direction == Direction::Ingress as u8;
    sock.flags = if ingress { flag::PASSIVE } else { flag::ACTIVE };
    (sock.pod, sock.peer) = (flow.pod, pod::workload_at(&flow.remote));
    entry.submit(if is_filling() { FORCE_WAKEUP } else { NO_WAKEUP });
}

/// Sends word of a handshake that was refused at a pod's listener, or would have been. Filled as [`refused`] does.
#[inline(never)]
pub fn refused_inbound(kind: EventKind, pod: u32, asked: &Inbound, denial: &Denial) {
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(Counter::EventsLost);
        return;
    };
    let event: *mut FlowEvent = entry.as_mut_ptr();
    storage::zero(event);
    // SAFETY: the record was reserved just now, and all zero is a valid one.
    let event = unsafe { &mut *event };
    event.kind = kind as u32;
    event.protocol = Protocol::Tcp as u32;
    // SAFETY: the helper has no preconditions.
    event.at_ns = unsafe { bpf_ktime_get_ns() };
    event.denial = *denial;
    let sock = &mut event.sock;
    (sock.asked_addr, sock.asked_port) = (asked.local, asked.local_port);
    (sock.local_addr, sock.local_port) = (asked.local, asked.local_port);
    (sock.remote_addr, sock.remote_port) = (asked.remote, asked.remote_port);
    (sock.pod, sock.peer) = (pod, pod::workload_at(&asked.remote));
    sock.flags = flag::PASSIVE;
    entry.submit(if is_filling() { FORCE_WAKEUP } else { NO_WAKEUP });
}

#[inline(always)]
fn send(event: impl FnOnce(u64) -> FlowEvent) {
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(Counter::EventsLost);
        return;
    };
    // SAFETY: the helper has no preconditions.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    entry.write(event(at_ns));
    entry.submit(if is_filling() { FORCE_WAKEUP } else { NO_WAKEUP });
}

/// Whether a quarter of the buffer waits to be read.
#[inline(always)]
fn is_filling() -> bool {
    let map = core::ptr::from_ref(&EVENTS).cast_mut().cast();
    // SAFETY: the map is a ring buffer.
    let waiting = unsafe { bpf_ringbuf_query(map, AVAILABLE) };
    waiting > (size::EVENTS / 4) as u64
}

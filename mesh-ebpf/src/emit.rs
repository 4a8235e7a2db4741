//! Sends events to user space, and counts those that found no room.

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_ringbuf_query};
use mesh_common::{
    abi::size,
    accel::Moved,
    addr::Protocol,
    counter::Counter,
    flow::{EventKind, FlowEvent, TcpFigures},
    service::Frontend,
    sock::{SockState, flag},
};

use crate::{count::count, maps::EVENTS, pod::Pod};

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
    });
}

/// Sends word of a socket or datagram that was refused at once.
#[inline(always)]
pub fn refused(kind: EventKind, pod: &Pod, asked: &Frontend, service: u32) {
    send(|at_ns| FlowEvent {
        kind: kind as u32,
        protocol: u32::from(asked.protocol),
        at_ns,
        sock: SockState {
            asked_addr: asked.addr,
            asked_port: asked.port,
            service,
            pod: pod.workload,
            netns: pod.netns,
            flags: if pod.pending { flag::PENDING } else { 0 },
            ..SockState::default()
        },
        tcp: TcpFigures::default(),
        received: Moved::default(),
    });
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

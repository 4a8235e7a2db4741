//! What a socket had asked for, and where it was sent.

use core::{num::NonZeroU32, ptr::read_volatile};

use aya_ebpf::programs::SockAddrContext;
use mesh_common::{
    addr::{Addr, Port, Protocol},
    counter::Counter,
    packet::UdpServiceKey,
    sock::{SockState, UdpFlow, UdpFlowKey, UdpPeer, UdpPeerKey, flag},
};

use crate::{
    backend::Chosen,
    context,
    count::count,
    maps::{SOCK_STATE, UDP_FLOWS, UDP_PEERS, UDP_SERVICES},
    pod::Pod,
    refuse::Asked,
};

/// Keeps the original destination of a connected socket, for as long as the socket lives.
#[inline(always)]
pub fn connection(ctx: &SockAddrContext, question: &Asked<'_>, chosen: &Chosen) {
    // SAFETY: the context's socket is valid while the hook runs.
    let state = unsafe { SOCK_STATE.get_or_insert_ptr_mut(ctx, None) };
    if state.is_null() {
        count(Counter::StorageFull);
        return;
    }
    // SAFETY: the storage is this socket's own, and connect() holds the socket's lock.
    let state = unsafe { &mut *state };
    let asked = question.frontend;
    (state.asked_addr, state.asked_port) = (asked.addr, asked.port);
    (state.remote_addr, state.remote_port) = (chosen.backend.addr, chosen.backend.port);
    (state.service, state.backend) = (question.service, chosen.id);
    state.peer = chosen.backend.workload;
    if asked.protocol == Protocol::Udp as u8 {
        // TCP's operations fill these later; no other program sees this socket.
        (state.pod, state.netns) = (question.pod.workload, question.pod.netns);
        state.cookie = context::socket_cookie(ctx);
        state.flags = flag::DATAGRAM;
    }
}

/// Keeps whose a TCP socket is that a pending pod connects.
#[inline(always)]
pub fn pending(ctx: &SockAddrContext, pod: &Pod) {
    // SAFETY: the context's socket is valid while the hook runs.
    let state = unsafe { SOCK_STATE.get_or_insert_ptr_mut(ctx, None) };
    if state.is_null() {
        count(Counter::StorageFull);
        return;
    }
    // SAFETY: the storage is this socket's own, and connect() holds the socket's lock.
    let state = unsafe { &mut *state };
    (state.pod, state.netns, state.flags) = (pod.workload, pod.netns, flag::PENDING);
}

/// Clears what a socket had asked for, when it is connected again to something that is no service.
#[inline(always)]
pub fn forget(ctx: &SockAddrContext) {
    if let Some(state) = state(ctx) {
        // SAFETY: the storage is this socket's own, and connect() holds the socket's lock.
        unsafe { (*state).service = 0 };
    }
}

/// What a connected socket had dialled, if it is connected to the backend that was chosen for it then:
/// `connect(AF_UNSPEC)` runs no hook and leaves the storage standing.
#[inline(always)]
pub fn dialled(ctx: &SockAddrContext, peer: Addr, port: Port) -> Option<(Addr, Port)> {
    // SAFETY: the storage is this socket's own; written under its lock before it was connected.
    let state = unsafe { &*state(ctx)? };
    (state.service != 0 && state.remote_addr == peer && state.remote_port == port)
        .then_some((state.asked_addr, state.asked_port))
}

/// Whether the socket was connected to a service and this is the backend chosen for it.
#[inline(always)]
pub fn is_connected_to(ctx: &SockAddrContext, peer: Addr, port: Port) -> bool {
    dialled(ctx, peer, port).is_some()
}

/// The backend a UDP socket keeps for a service; no id is 0, so that "none" is a number to the verifier, too.
#[inline(always)]
pub fn flow(socket: u64, service: u32) -> Option<NonZeroU32> {
    let flow = UDP_FLOWS.get_ptr(UdpFlowKey {
        socket,
        service,
        reserved: 0,
    })?;
    // SAFETY: `flow` points into the map's value for as long as the program runs; a recycled one names a
    // backend that the membership check refuses unless it serves this very service.
    NonZeroU32::new(unsafe { read_volatile(flow) }.backend)
}

/// Keeps both directions of a UDP socket's talk with a service; `before` is the backend it had, as [`flow`]
/// told. A function of its own, since hooks would run out of stack.
#[inline(never)]
pub fn datagram(socket: u64, question: &Asked<'_>, chosen: &Chosen, before: Option<NonZeroU32>) {
    let (asked, service, netns) = (question.frontend, question.service, question.pod.netns);
    if before != NonZeroU32::new(chosen.id) {
        let key = UdpFlowKey {
            socket,
            service,
            reserved: 0,
        };
        // An LRU map always finds room; should it not, the next datagram is merely balanced anew.
        let _evicted = UDP_FLOWS.insert(
            key,
            UdpFlow {
                backend: chosen.id,
                reserved: 0,
            },
            0,
        );
    }
    if self::asked(socket, chosen.backend.addr, chosen.backend.port) != Some((asked.addr, asked.port)) {
        let key = peer_key(socket, chosen.backend.addr, chosen.backend.port);
        let peer = UdpPeer {
            addr: asked.addr,
            port: asked.port,
            reserved: 0,
            service,
        };
        if UDP_PEERS.insert(key, peer, 0).is_err() {
            count(Counter::StorageFull);
        }
        // For the accounting of packets, which do not say what was asked for.
        let (addr, port) = (chosen.backend.addr, chosen.backend.port);
        let _evicted = UDP_SERVICES.insert(
            UdpServiceKey {
                netns,
                addr,
                port,
                reserved: [0; 3],
            },
            service,
            0,
        );
    }
}

/// Forgets that a backend answers for a service, when the socket now asks that backend itself: the most recent
/// question wins.
#[inline(always)]
pub fn asked_directly(socket: u64, addr: Addr, port: Port) {
    let key = peer_key(socket, addr, port);
    if UDP_PEERS.get_ptr(key).is_some() {
        // It may have been evicted meanwhile, which does as well.
        let _evicted = UDP_PEERS.remove(key);
    }
}

/// What a UDP socket had asked for, when a backend answers it.
#[inline(always)]
pub fn asked(socket: u64, from: Addr, port: Port) -> Option<(Addr, Port)> {
    let peer = UDP_PEERS.get_ptr(peer_key(socket, from, port))?;
    // SAFETY: `peer` points into the map's value for as long as the program runs.
    let peer = unsafe { read_volatile(peer) };
    Some((peer.addr, peer.port))
}

#[inline(always)]
fn peer_key(socket: u64, addr: Addr, port: Port) -> UdpPeerKey {
    UdpPeerKey {
        socket,
        addr,
        port,
        reserved: [0; 3],
    }
}

#[inline(always)]
fn state(ctx: &SockAddrContext) -> Option<*mut SockState> {
    // SAFETY: the context's socket is valid while the hook runs.
    let state = unsafe { SOCK_STATE.get_ptr_mut(ctx) };
    (!state.is_null()).then_some(state)
}

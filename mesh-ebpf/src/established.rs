//! The life of a TCP connection, seen by its socket's operations: asked for, established, ended.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::sock_ops,
    programs::SockOpsContext,
};
use mesh_common::{
    accel::{Enrolment, Moved},
    config,
    counter::Counter,
    decide::tcp::{self, End, state},
    flow::{EventKind, TcpFigures},
    sock::{SockState, flag},
    workload,
};

use crate::{
    count::count,
    emit, enrol, hosts,
    maps::CONFIG,
    marks, pending, pod,
    segment::{self, figures},
    storage, traffic,
};

/// `BPF_SOCK_OPS_TCP_CONNECT_CB`.
const CONNECT: u32 = 3;
/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`.
const ACTIVE_ESTABLISHED: u32 = 4;
/// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`.
const PASSIVE_ESTABLISHED: u32 = 5;
/// `BPF_SOCK_OPS_STATE_CB`.
const STATE: u32 = 10;
/// `BPF_SOCK_OPS_PARSE_HDR_OPT_CB`.
const HEADER: u32 = 13;

/// `BPF_SOCK_OPS_STATE_CB_FLAG`: call at every change of state.
const WANT_STATE: u32 = 1 << 2;
/// `BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG`: call for every segment that comes in.
const WANT_HEADERS: u32 = 1 << 4;

/// Socket operations of TCP sockets, where nothing can be redirected: it reads nothing of the kernel's own.
#[sock_ops]
pub fn mesh_tcp(ctx: SockOpsContext) -> u32 {
    run::<false>(&ctx)
}

/// The same, with acceleration; it takes `mesh_tcp`'s place where the kernel lets it.
#[sock_ops]
pub fn mesh_tcp_accel(ctx: SockOpsContext) -> u32 {
    run::<true>(&ctx)
}

#[inline(always)]
fn run<const ACCEL: bool>(ctx: &SockOpsContext) -> u32 {
    match ctx.op() {
        CONNECT => asked::<ACCEL>(ctx),
        ACTIVE_ESTABLISHED => established::<ACCEL>(ctx, flag::ACTIVE),
        PASSIVE_ESTABLISHED => established::<ACCEL>(ctx, flag::PASSIVE),
        STATE => changed::<ACCEL>(ctx),
        HEADER => segment::note_fin(ctx),
        _ => {}
    }
    1
}

/// A pod's socket is about to send its SYN; source and destination are known.
#[inline(always)]
fn asked<const ACCEL: bool>(ctx: &SockOpsContext) {
    let Some((sock, _)) = adopt::<ACCEL>(ctx) else {
        return hosts::connects(ctx);
    };
    sock.flags |= flag::ACTIVE;
    sock.established_ns = 0;
    want(ctx, WANT_STATE);
}

/// The handshake is done.
#[inline(always)]
fn established<const ACCEL: bool>(ctx: &SockOpsContext, side: u32) {
    let (sock, is_ours) = if side == flag::ACTIVE {
        // Its SYN was seen.
        let Some(sock) = segment::state(ctx) else { return };
        (sock, true)
    } else {
        let Some((sock, pod)) = adopt::<ACCEL>(ctx) else {
            return;
        };
        let handshake = segment::handshake(ctx, sock.opened_ns, pod.entered_ms);
        // With TCP Fast Open it is the SYN that comes in here.
        let is_ours = segment::carried_data(ctx, flag::PASSIVE) || handshake.is_ours();
        (sock, is_ours)
    };
    sock.established_ns = if side == flag::ACTIVE {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_ns() }
    } else {
        // Adopted just now.
        sock.opened_ns
    };
    sock.flags |= side;
    want(ctx, WANT_STATE);
    if sock.flags & (flag::ACCELERATED | flag::OWN) != 0 {
        if !ACCEL {
            sock.accel.enrolment = Enrolment::Off as u32;
        } else if is_ours {
            enrol::enrol(ctx, sock);
        } else {
            sock.accel.enrolment = Enrolment::EarlierHandshake as u32;
        }
    }
    traffic::update(sock, |total| total.opened += 1);
    if CONFIG
        .get(0)
        .is_some_and(|config| config.flags & config::flag::WATCHED != 0)
    {
        let tcp = figures(ctx, state::ESTABLISHED);
        emit::event(EventKind::Opened, sock, &tcp, Moved::default());
    }
}

/// The state changed: `args` are the old and the new one.
#[inline(always)]
fn changed<const ACCEL: bool>(ctx: &SockOpsContext) {
    let (old, new) = (ctx.arg(0), ctx.arg(1));
    if new == state::FIN_WAIT1 {
        // From here on the state does not tell whether the peer's FIN came in: look at the segments.
        want(ctx, WANT_STATE | WANT_HEADERS);
    }
    if ACCEL
        && new == state::CLOSE_WAIT
        && let Some(sock) = segment::state(ctx)
    {
        enrol::peer_ended(ctx, sock);
    }
    if new != state::CLOSE {
        return;
    }
    let Some(sock) = segment::state(ctx) else { return };
    let tcp = figures(ctx, old);
    let received = enrol::leave(sock);
    ended(sock, &tcp, received);
    // The socket may be connected again; its next connection starts from nothing.
    (sock.flags, sock.fin_seq, sock.established_ns) = (0, 0, 0);
    storage::clear(&mut sock.accel);
}

#[inline(always)]
fn ended(sock: &SockState, tcp: &TcpFigures, received: Moved) {
    let redirected = sock.accel.redirected;
    let bytes_sent = tcp::bytes_sent(sock, tcp);
    let bytes_received = tcp::bytes_received(sock, tcp, received);
    let failed = End::of(tcp) as u32 == End::ConnectFailed as u32;
    traffic::update(sock, |total| {
        if failed {
            total.failed += 1;
        } else {
            total.closed += 1;
            total.bytes_sent += bytes_sent;
            total.bytes_received += bytes_received;
            total.redirected_sent = total.redirected_sent.plus(redirected);
            total.redirected_received = total.redirected_received.plus(received);
        }
    });
    emit::event(EventKind::Closed, sock, tcp, received);
}

/// Fills the storage of a pod's socket; `None` where the socket is not in the mesh.
#[inline(always)]
fn adopt<const ACCEL: bool>(ctx: &SockOpsContext) -> Option<(&'static mut SockState, pod::Pod)> {
    // SAFETY: the helper takes this program type's context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let pod = match pod::find(netns) {
        None if ctx.op() == CONNECT => pending::asked(ctx, netns)?,
        found => found?,
    };
    // SAFETY: the socket is this context's own.
    let Some(sock) = (unsafe { storage::get_or_create(segment::socket(ctx)) }) else {
        count(Counter::StorageFull);
        return None;
    };
    // SAFETY: the storage is this socket's own, and the socket's lock is held in these operations.
    let sock = unsafe { &mut *sock };
    let (local, remote) = segment::ends(ctx);
    if sock.service == 0 || sock.remote_addr != remote.0 || sock.remote_port != remote.1 {
        // Not what the connect hook prepared: no service was dialled.
        let asked = if ctx.op() == PASSIVE_ESTABLISHED {
            local
        } else {
            remote
        };
        (sock.asked_addr, sock.asked_port) = asked;
        (sock.service, sock.backend) = (0, 0);
        sock.peer = pod::workload_at(&remote.0);
    }
    (sock.local_addr, sock.local_port) = local;
    (sock.remote_addr, sock.remote_port) = remote;
    sock.pod = pod.workload;
    sock.netns = netns;
    sock.fin_seq = 0;
    // Rules may have changed since it was let pass: before anything is redirected it is judged again.
    sock.policy = CONFIG.get(0).map_or(0, |config| config.policy.wrapping_sub(1));
    sock.flags = if pod.pending { flag::PENDING } else { 0 };
    storage::clear(&mut sock.accel);
    if pod.flags & workload::flag::ACCELERATED != 0 {
        sock.flags |= flag::ACCELERATED;
    }
    // SAFETY: the socket is this context's own.
    if ACCEL && unsafe { marks::is_own(segment::socket(ctx)) } {
        sock.flags |= flag::OWN;
    }
    // SAFETY: the helper takes this program type's context.
    sock.cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: the helper has no preconditions.
    sock.opened_ns = unsafe { bpf_ktime_get_ns() };
    Some((sock, pod))
}

/// Asks for more callbacks on this socket.
#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "the flags are small")]
fn want(ctx: &SockOpsContext, flags: u32) {
    if ctx.cb_flags() & flags == flags {
        return;
    }
    // Fails only for sockets that are no full sockets, which have no such callbacks.
    let _not_full = ctx.set_cb_flags((ctx.cb_flags() | flags) as i32);
}

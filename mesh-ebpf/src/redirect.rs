//! The redirect: a message that an enrolled socket sends goes straight into the other end's queue, if the
//! guard allows it, and to TCP otherwise.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{
    bindings::{BPF_F_INGRESS, bpf_sock, sk_action},
    macros::{sk_msg, stream_verdict},
    programs::{SkBuffContext, SkMsgContext},
};
use mesh_common::{
    addr::Protocol,
    config,
    decide::guard::{self, Pass},
    policy::{Direction, OPEN},
    sock::{SockState, flag},
};

use crate::{
    judge::{self, Flow, Judgement},
    kernel,
    maps::{CONFIG, MESH_SOCKETS, SOCKETS, SPLICES},
    storage,
};

/// One message of an enrolled socket. Answers `SK_PASS` whatever happens: without a redirect, that is TCP.
#[sk_msg]
pub fn mesh_redirect(ctx: SkMsgContext) -> u32 {
    let off = CONFIG
        .get(0)
        .is_none_or(|config| config.flags & (config::flag::DISABLED | config::flag::ACCEL_OFF) != 0);
    // SAFETY: the socket is this context's own.
    if let Some(sock) = unsafe { storage::get(socket(&ctx)) } {
        // SAFETY: the storage is this socket's own, and the socket's lock is held while its messages are judged.
        let sock = unsafe { &mut *sock };
        let size = ctx.size();
        let outcome = if off {
            Err(Pass::Off)
        } else if !still_permitted(sock) {
            Err(Pass::Denied)
        } else {
            redirect(&ctx, sock, size)
        };
        match outcome {
            Ok(()) => sock.accel.redirected.add(u64::from(size)),
            Err(pass) => {
                sock.accel.passed.add(u64::from(size));
                sock.accel.last_pass = pass as u32;
            }
        }
    }
    sk_action::SK_PASS
}

/// Whether the policies of both ends let the flow pass, asked once for each change of what they say.
#[inline(always)]
fn still_permitted(sock: &mut SockState) -> bool {
    let policy = CONFIG.get(0).map_or(0, |config| config.policy);
    if sock.policy == policy {
        return true;
    }
    let permitted = permitted(sock) != 0;
    if permitted {
        sock.policy = policy;
    }
    permitted
}

/// The same, asked now: 1 or 0. A function of its own, since the program would run out of stack.
#[inline(never)]
fn permitted(sock: &SockState) -> u32 {
    let active = sock.flags & flag::ACTIVE != 0;
    let (own, theirs, port) = if active {
        (Direction::Egress, Direction::Ingress, sock.remote_port)
    } else {
        (Direction::Ingress, Direction::Egress, sock.local_port)
    };
    let ends = [
        (sock.pod, own, &sock.remote_addr),
        (sock.peer, theirs, &sock.local_addr),
    ];
    for (pod, direction, other) in ends {
        let Some(sets) = judge::sets(pod) else { continue };
        if sets.of(direction) == OPEN {
            continue;
        }
        let flow = Flow {
            peer: judge::class_of(other),
            protocol: Protocol::Tcp as u8,
            port,
        };
        if let Judgement::Denied { audited: false, .. } = judge::judge(sets, direction, flow) {
            return 0;
        }
    }
    1
}

#[inline(always)]
fn redirect(ctx: &SkMsgContext, sock: &SockState, size: u32) -> Result<(), Pass> {
    let key = sock.key().peer(sock.accel.peer);
    let splice = SPLICES.get_ptr_mut(key).ok_or(Pass::NoPeer)?;
    // SAFETY: `splice` points into the map's value for as long as the program runs; one word, read at once.
    let peer = unsafe { read_volatile(addr_of!((*splice).sk)) };
    let view = kernel::view(sock.accel.sk, peer, &key, size).ok_or(Pass::Unreadable)?;
    guard::judge(&view)?;
    // SAFETY: as above. Should it be another connection's by now, its table has no socket with this key.
    let own = unsafe { read_volatile(addr_of!((*splice).own)) } != 0;
    let table = if own { &MESH_SOCKETS } else { &SOCKETS };
    if table.redirect_msg(ctx, key, u64::from(BPF_F_INGRESS)) != i64::from(sk_action::SK_PASS) {
        return Err(Pass::NoPeer);
    }
    // The element may have been recycled for another connection meanwhile: then its owner's figures are not ours.
    // SAFETY: as above.
    if unsafe { read_volatile(addr_of!((*splice).sk)) } == peer {
        // SAFETY: as above; of this connection nobody but this end's program, under this socket's lock, adds here.
        unsafe { (*splice).received.add(u64::from(size)) };
    }
    Ok(())
}

/// Takes bytes of TCP into the queue that redirected bytes are in, so that `FIONREAD` tells both (kernels since
/// 929e30f93125 do not count what is left in TCP's own queue).
#[stream_verdict]
pub fn mesh_deliver(_ctx: SkBuffContext) -> u32 {
    sk_action::SK_PASS
}

#[inline(always)]
fn socket(ctx: &SkMsgContext) -> *mut bpf_sock {
    // SAFETY: the kernel passes a valid context; the field is a pointer the verifier knows.
    unsafe { (*ctx.msg).__bindgen_anon_3.sk }
}

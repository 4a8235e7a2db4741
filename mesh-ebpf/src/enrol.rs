//! Enrols sockets for the redirect when their handshake is done, and never later: a reader that already waits
//! would not be woken by redirected bytes.

use aya_ebpf::{helpers::generated::bpf_setsockopt, programs::SockOpsContext};
use mesh_common::{
    accel::{Accel, Enrolment, Moved, Splice},
    decide::enrol::{self, Facts},
    sock::{SockState, flag},
};

use crate::{
    kernel,
    maps::{CONFIG, MESH_SOCKETS, SOCKETS, SPLICES},
    pod, segment,
};

const IPPROTO_TCP: i32 = 6;
const TCP_USER_TIMEOUT: i32 = 18;
const EBUSY: i32 = -16;
const E2BIG: i32 = -7;
const EINVAL: i32 = -22;

/// Enrols the socket, or notes why not.
#[inline(always)]
pub fn enrol(ctx: &SockOpsContext, sock: &mut SockState) {
    let enrolment = match attempt(ctx, sock) {
        Ok(()) => Enrolment::Enrolled,
        Err(reason) => {
            sock.accel.sk = 0;
            reason
        }
    };
    sock.accel.enrolment = enrolment as u32;
}

#[inline(always)]
fn attempt(ctx: &SockOpsContext, sock: &mut SockState) -> Result<(), Enrolment> {
    let own = sock.flags & flag::OWN != 0;
    let peer = enrol::judge(&Facts {
        config: CONFIG.get(0).map_or(0, |config| config.flags),
        pod: sock.pod,
        own,
        local: pod::owner(&sock.local_addr),
        remote: pod::owner(&sock.remote_addr),
    })?;
    let sk = address(ctx, sock);
    if kernel::is_mptcp(sk) {
        return Err(Enrolment::Mptcp);
    }
    if kernel::has_layer_above(sk) {
        return Err(Enrolment::LayerAbove);
    }
    if segment::carried_data(ctx, sock.flags) || kernel::write_seq(sk) != Some(segment::unacknowledged(ctx)) {
        return Err(Enrolment::EarlyData);
    }
    let key = sock.key();
    let splice = Splice {
        sk,
        cookie: sock.cookie,
        own: u32::from(own),
        ..Splice::default()
    };
    // Known to the peer before it can be found: a message that finds the socket finds this, too.
    if SPLICES.insert(key, splice, 0).is_err() {
        return Err(Enrolment::TableFull);
    }
    // The socket of an earlier connection with the same ends may still be there: replace it.
    let table = if own { &MESH_SOCKETS } else { &SOCKETS };
    // SAFETY: the context is this program's own.
    let entered = unsafe { table.update(key, &mut *ctx.ops, 0) };
    if let Err(error) = entered {
        let _gone = SPLICES.remove(key);
        return Err(match error {
            E2BIG => Enrolment::TableFull,
            EBUSY => Enrolment::Busy,
            EINVAL => Enrolment::LayerAbove,
            _ => Enrolment::Refused,
        });
    }
    sock.accel = Accel {
        sk,
        peer,
        ..Accel::default()
    };
    Ok(())
}

/// The socket's address as a number. The verifier refuses arithmetic on the pointer itself, and forgets that it
/// is one on the way through the storage.
#[inline(always)]
fn address(ctx: &SockOpsContext, sock: &mut SockState) -> u64 {
    let place = &raw mut sock.accel.sk;
    // SAFETY: `place` is a valid word of this socket's storage.
    unsafe {
        place.write_volatile(segment::socket(ctx).expose_provenance() as u64);
        place.read_volatile()
    }
}

/// The peer's FIN came in. If that was a close, nobody will read any more, and TCP says so with a reset when
/// bytes were unread. But bytes that [`crate::redirect::mesh_deliver`] took out of TCP's queue are not unread to
/// TCP: it would leave a sender waiting for room until the last timer of the peer's socket is gone, a minute
/// later. Such a sender gives up at the next probe for room instead (`ETIMEDOUT`).
#[inline(always)]
pub fn peer_ended(ctx: &SockOpsContext, sock: &SockState) {
    if sock.accel.sk == 0 {
        return;
    }
    let key = sock.key().peer(sock.accel.peer);
    // SAFETY: one word, copied at once.
    let Some(peer) = (unsafe { SPLICES.get(key) }).map(|splice| splice.sk) else {
        return;
    };
    if !kernel::reads_no_more(peer, &key) {
        return;
    }
    let mut milliseconds = 1_u32;
    let value = (&raw mut milliseconds).cast();
    // SAFETY: the context is this program's own; the helper reads the value's four bytes.
    let _refused = unsafe { bpf_setsockopt(ctx.ops.cast(), IPPROTO_TCP, TCP_USER_TIMEOUT, value, 4) };
}

/// Forgets the socket, and tells what came to it by redirect. The kernel takes it out of its table itself.
#[inline(always)]
pub fn leave(sock: &SockState) -> Moved {
    if sock.accel.sk == 0 {
        return Moved::default();
    }
    let key = sock.key();
    // SAFETY: copied at once; the peer may be adding to it, which a figure of a dying socket survives.
    let Some(splice) = unsafe { SPLICES.get(key) }.copied() else {
        return Moved::default();
    };
    if splice.cookie != sock.cookie {
        // A new connection with the same ends has taken its place.
        return Moved::default();
    }
    let _gone = SPLICES.remove(key);
    splice.received
}

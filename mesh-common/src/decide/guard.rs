//! May this message go from socket to socket, past TCP? Only if nobody can see a difference from TCP: no byte
//! may overtake another, and the receiver's queue must stay short.
//!
//! The reader of an enrolled socket takes redirected bytes before bytes of TCP (`tcp_bpf_recvmsg` in
//! `net/ipv4/tcp_bpf.c`), so a redirected message must not leave while the peer has any byte of TCP unread or
//! on its way. Only the sender adds bytes, and the reader can only drain, so what holds here still holds when the
//! message is queued. The other way round, TCP after a redirect, is always in order.
//!
//! The kernel lets go of the sender's lock between this decision and the queue. A thread is not past its `send()`
//! before its message is queued, so one thread's messages keep their order. Several threads that write to one
//! socket at the same time have no order among them, by TCP neither; but here a small message of one may come to
//! lie within a larger one of another, and each may see the queue without the other's message.

use crate::accel::named;

/// Bytes that may wait unread at the receiver, a message included; TCP's own flow control takes over from there.
/// Of the sizes tried the shortest with which a stream of large writes goes on past TCP while its reader runs on
/// another CPU: with less it changes to TCP and back all the time, which costs more than either.
pub const QUEUE_LIMIT: u32 = 256 << 10;

/// `TCP_ESTABLISHED`.
const ESTABLISHED: u8 = 1;

/// What the sender's program sees.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// Bytes of the message.
    pub size: u32,
    /// The next sequence number this end's application will write (`write_seq`).
    pub write_seq: u32,
    /// The next sequence number the other end's application will read (`copied_seq`).
    pub copied_seq: u32,
    /// Bytes charged to the other end's receive queues (`sk_rmem_alloc`).
    pub queued: u32,
    /// The most that may be charged there (`sk_rcvbuf`).
    pub receive_buffer: u32,
    /// The other end's TCP state (`skc_state`).
    pub state: u8,
    /// The other end's directions that are shut down (`sk_shutdown`).
    pub shutdown: u8,
    /// Whether an upper layer sits on either socket, such as kernel TLS, which may come after the enrolment: its
    /// records must not pass it by.
    pub layer_above: bool,
}

named! {
    /// Why a message goes to TCP.
    Pass {
        /// None did yet.
        Never = 0 "never" "none has yet",
        /// The redirect is switched off.
        Off = 1 "off" "the redirect is switched off",
        /// The other end is not enrolled, or not yet, or no longer.
        NoPeer = 2 "no_peer" "the other end is not enrolled",
        /// The other end's socket could not be read, or is another connection's.
        Unreadable = 3 "unreadable" "the other end's socket could not be read",
        /// The other end is closing.
        Closing = 4 "closing" "the other end is closing",
        /// Bytes given to TCP before are still on their way or unread.
        Behind = 5 "behind" "earlier bytes are on their way by TCP, or unread",
        /// The receiver's queue is long.
        Full = 6 "full" "the receiver is slow: its queue is long",
        /// An upper layer sits on one of the sockets.
        LayerAbove = 7 "layer_above" "an upper layer protocol such as kernel TLS sits on the socket",
        /// A policy denies the flow by now; TCP's packets are dropped until its sockets are destroyed.
        Denied = 8 "denied" "a network policy denies the flow",
    }
}

/// Redirects, or says why not.
///
/// # Errors
/// Why the message goes to TCP.
#[inline(always)]
pub const fn judge(view: &View) -> Result<(), Pass> {
    if view.layer_above {
        return Err(Pass::LayerAbove);
    }
    if view.state != ESTABLISHED || view.shutdown != 0 {
        return Err(Pass::Closing);
    }
    if view.copied_seq != view.write_seq {
        return Err(Pass::Behind);
    }
    // In 64 bits, so that no size can wrap around.
    let after = view.queued as u64 + view.size as u64;
    if after > QUEUE_LIMIT as u64 || after > view.receive_buffer as u64 {
        return Err(Pass::Full);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

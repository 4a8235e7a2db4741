//! The context of the socket operations (`struct bpf_sock_ops`).

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{bindings::bpf_sock, programs::SockOpsContext};
use mesh_common::{
    addr::{Addr, Port},
    decide::handshake::Handshake,
    flow::TcpFigures,
    sock::{SockState, flag},
};

use crate::storage;

/// `AF_INET6`.
const AF_INET6: u32 = 10;
/// `TCPHDR_FIN`.
const FIN: u32 = 1;
/// `TCPHDR_SYN`.
const SYN: u32 = 2;
/// Length of a TCP header without options.
const HEADER_LEN: usize = 20;

/// An address and a port.
pub type End = (Addr, Port);

/// The socket; null where there is none.
#[inline(always)]
pub fn socket(ctx: &SockOpsContext) -> *mut bpf_sock {
    // SAFETY: the kernel passes a valid context; the field is a pointer the verifier knows.
    unsafe { (*ctx.ops).__bindgen_anon_2.sk }
}

/// Whether bytes went with the handshake (TCP Fast Open): what ended a passive one is a SYN, or the other end has
/// acknowledged more than the SYN of an active one.
#[inline(always)]
pub fn carried_data(ctx: &SockOpsContext, flags: u32) -> bool {
    if flags & flag::PASSIVE != 0 {
        // SAFETY: the kernel passes a valid context.
        return unsafe { read_volatile(addr_of!((*ctx.ops).skb_tcp_flags)) } & SYN != 0;
    }
    // SAFETY: as above.
    let acknowledged = unsafe { read_volatile(addr_of!((*ctx.ops).bytes_acked)) };
    acknowledged > 1
}

/// The first sequence number the other end has not acknowledged.
#[inline(always)]
pub fn unacknowledged(ctx: &SockOpsContext) -> u32 {
    // SAFETY: the kernel passes a valid context.
    unsafe { read_volatile(addr_of!((*ctx.ops).snd_una)) }
}

/// What the programs remember of the socket, where it is in the mesh.
#[inline(always)]
pub fn state(ctx: &SockOpsContext) -> Option<&'static mut SockState> {
    // SAFETY: the socket is this context's own.
    let state = unsafe { storage::get(socket(ctx)) }?;
    // SAFETY: the storage is this socket's own, and the socket's lock is held in these operations.
    let state = unsafe { &mut *state };
    // A socket whose connect hook ran, but that was never seen here, was not in the mesh then.
    (state.cookie != 0).then_some(state)
}

/// Both ends: local, remote.
#[inline(always)]
pub fn ends(ctx: &SockOpsContext) -> (End, End) {
    let ops = ctx.ops;
    let (local, remote) = if ctx.family() == AF_INET6 {
        // SAFETY: the kernel passes a valid context.
        let local = |at: usize| unsafe { read_volatile(addr_of!((*ops).local_ip6[at])) };
        // SAFETY: as above.
        let remote = |at: usize| unsafe { read_volatile(addr_of!((*ops).remote_ip6[at])) };
        (
            Addr([local(0), local(1), local(2), local(3)]),
            Addr([remote(0), remote(1), remote(2), remote(3)]),
        )
    } else {
        (
            Addr::from_v4_word(ctx.local_ip4()),
            Addr::from_v4_word(ctx.remote_ip4()),
        )
    };
    // The local port is in host order; the remote one in network order, in the upper half on little endian.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel keeps 16 bits in these words"
    )]
    let ports = (ctx.local_port() as u16, u32::from_be(ctx.remote_port()) as u16);
    ((local, Port::new(ports.0)), (remote, Port::new(ports.1)))
}

/// What TCP knows, with the state given.
#[inline(always)]
pub fn figures(ctx: &SockOpsContext, state: u32) -> TcpFigures {
    let ops = ctx.ops;
    // SAFETY: the kernel passes a valid context; these fields are readable for full sockets and 0 for others.
    unsafe {
        TcpFigures {
            bytes_acked: read_volatile(addr_of!((*ops).bytes_acked)),
            bytes_received: read_volatile(addr_of!((*ops).bytes_received)),
            segs_out: read_volatile(addr_of!((*ops).segs_out)),
            segs_in: read_volatile(addr_of!((*ops).segs_in)),
            srtt_us8: read_volatile(addr_of!((*ops).srtt_us)),
            retransmits: read_volatile(addr_of!((*ops).total_retrans)),
            snd_una: read_volatile(addr_of!((*ops).snd_una)),
            snd_nxt: read_volatile(addr_of!((*ops).snd_nxt)),
            rcv_nxt: read_volatile(addr_of!((*ops).rcv_nxt)),
            state,
        }
    }
}

/// The handshake that is done now, of a socket whose pod was entered then.
#[inline(always)]
pub fn handshake(ctx: &SockOpsContext, now_ns: u64, entered_ms: u32) -> Handshake {
    let ops = ctx.ops;
    // SAFETY: the kernel passes a valid context; these fields are readable for full sockets and 0 for others.
    let (srtt_us8, retransmits) = unsafe {
        (
            read_volatile(addr_of!((*ops).srtt_us)),
            read_volatile(addr_of!((*ops).total_retrans)),
        )
    };
    Handshake {
        now_ns,
        entered_ms,
        srtt_us8,
        retransmits,
    }
}

/// Notes where the peer's FIN lies in its sequence space: right behind the segment's data.
#[inline(always)]
pub fn note_fin(ctx: &SockOpsContext) {
    let ops = ctx.ops;
    // SAFETY: the kernel passes a valid context.
    if unsafe { read_volatile(addr_of!((*ops).skb_tcp_flags)) } & FIN == 0 {
        return;
    }
    // SAFETY: as above.
    let len = unsafe { read_volatile(addr_of!((*ops).skb_len)) };
    // SAFETY: as above; the two are packet pointers to the verifier.
    let (data, end) = unsafe {
        (
            (*ops).__bindgen_anon_3.skb_data,
            (*ops).__bindgen_anon_4.skb_data_end,
        )
    };
    let header: *const u8 = data.cast();
    // SAFETY: computes an address only; it is compared before anything is read.
    if unsafe { header.add(HEADER_LEN) } > end.cast() {
        return;
    }
    // SAFETY: the header lies within the packet, as just compared.
    let (sequence, offset) = unsafe { (header.add(4).cast::<[u8; 4]>().read(), header.add(12).read()) };
    let Some(sock) = state(ctx) else { return };
    let header_len = u32::from(offset >> 4) * 4;
    sock.fin_seq = u32::from_be_bytes(sequence).wrapping_add(len.saturating_sub(header_len));
    sock.flags |= flag::FIN_SEEN;
}

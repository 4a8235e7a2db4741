//! Lists live connections: an iterator over the socket storage, pinned, so that reading a file tells what
//! every connection has done up to now, also when the agent is dead.
//!
//! TCP's own figures are read with `bpf_probe_read_kernel` at offsets that user space takes from the running
//! kernel's type information, so this program needs `CAP_PERFMON` and is loaded apart from the others.

use core::{
    mem::{offset_of, size_of},
    ptr::{addr_of, addr_of_mut, read_volatile},
};

use aya_ebpf::{
    Global,
    bindings::seq_file,
    helpers::{bpf_probe_read_kernel_buf, bpf_seq_write},
};
use mesh_common::{
    accel::Moved,
    flow::{TcpFigures, TcpOffsets},
    sock::{SockState, flag},
};

use crate::maps::SPLICES;

/// Where TCP keeps its figures, in bytes from the start of `struct tcp_sock`.
#[unsafe(no_mangle)]
static TCP_OFFSETS: Global<TcpOffsets> = Global::new(TcpOffsets::NONE);

#[expect(clippy::cast_possible_truncation, reason = "both are some hundred bytes long")]
const SOCK_LEN: u32 = size_of::<SockState>() as u32;
#[expect(clippy::cast_possible_truncation, reason = "both are some hundred bytes long")]
const TCP_LEN: u32 = size_of::<TcpFigures>() as u32;
#[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
const MOVED_LEN: u32 = size_of::<Moved>() as u32;

/// `struct bpf_iter__bpf_sk_storage_map`.
#[repr(C)]
pub struct Context {
    meta: *const Meta,
    map: *const core::ffi::c_void,
    sk: *const core::ffi::c_void,
    value: *const SockState,
}

/// `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
    session_id: u64,
    seq_num: u64,
}

/// The file to write to, and the socket at hand with its storage; `None` at the end of the list.
///
/// # Safety
/// `ctx` is the context the kernel passed.
#[inline(always)]
pub unsafe fn socket_and_value(
    ctx: *const Context,
) -> Option<(*mut seq_file, *const core::ffi::c_void, *const SockState)> {
    // SAFETY: the caller's word; `meta` and `seq` are valid for as long as the program runs.
    let (sk, value, seq) = unsafe {
        (
            read_volatile(addr_of!((*ctx).sk)),
            read_volatile(addr_of!((*ctx).value)),
            (*(*ctx).meta).seq,
        )
    };
    (!sk.is_null() && !value.is_null()).then_some((seq, sk, value))
}

/// Writes one `LiveFlow` for every socket in the mesh that TCP was asked to connect or to accept, and for every UDP
/// socket that is connected to a service.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
pub extern "C" fn mesh_list(ctx: *const Context) -> i32 {
    // SAFETY: the kernel passes a valid context.
    let Some((seq, sk, value)) = (unsafe { socket_and_value(ctx) }) else {
        return 0;
    };
    // SAFETY: not null, so it points to the storage of the socket at hand.
    let (cookie, flags) = unsafe {
        (
            read_volatile(addr_of!((*value).cookie)),
            read_volatile(addr_of!((*value).flags)),
        )
    };
    if cookie != 0 {
        let figures = if flags & flag::DATAGRAM == 0 {
            figures(sk)
        } else {
            TcpFigures::default()
        };
        let received = received(value);
        // SAFETY: all values are as long as said; a record that found no room is written again by the kernel.
        unsafe {
            bpf_seq_write(seq, value.cast(), SOCK_LEN);
            bpf_seq_write(seq, addr_of!(figures).cast(), TCP_LEN);
            bpf_seq_write(seq, addr_of!(received).cast(), MOVED_LEN);
        }
    }
    0
}

/// What came in by redirect.
#[inline(always)]
fn received(value: *const SockState) -> Moved {
    // SAFETY: not null, so it points to the storage of the socket at hand.
    let sock = unsafe { &*value };
    if sock.accel.sk == 0 {
        return Moved::default();
    }
    // SAFETY: copied at once.
    unsafe { SPLICES.get(sock.key()) }.map_or(Moved::default(), |splice| splice.received)
}

#[inline(always)]
fn figures(sk: *const core::ffi::c_void) -> TcpFigures {
    let offsets = TCP_OFFSETS.load();
    let mut figures = TcpFigures::default();
    let base = addr_of_mut!(figures).cast::<u8>();
    let copy = |offset: u32, to: usize, len: usize| {
        // SAFETY: every target lies within `figures`, which has no invalid bit pattern.
        let target = unsafe { core::slice::from_raw_parts_mut(base.add(to), len) };
        // SAFETY: the helper reads any kernel address and answers a bad one with an error, which leaves zeros.
        let _unreadable = unsafe { bpf_probe_read_kernel_buf(sk.cast::<u8>().add(offset as usize), target) };
    };
    copy(offsets.bytes_acked, offset_of!(TcpFigures, bytes_acked), 8);
    copy(offsets.bytes_received, offset_of!(TcpFigures, bytes_received), 8);
    copy(offsets.segs_out, offset_of!(TcpFigures, segs_out), 4);
    copy(offsets.segs_in, offset_of!(TcpFigures, segs_in), 4);
    copy(offsets.srtt_us8, offset_of!(TcpFigures, srtt_us8), 4);
    copy(offsets.retransmits, offset_of!(TcpFigures, retransmits), 4);
    copy(offsets.snd_una, offset_of!(TcpFigures, snd_una), 4);
    copy(offsets.snd_nxt, offset_of!(TcpFigures, snd_nxt), 4);
    copy(offsets.rcv_nxt, offset_of!(TcpFigures, rcv_nxt), 4);
    // The kernel keeps the state in one byte.
    let state_byte = if cfg!(target_endian = "big") { 3 } else { 0 };
    copy(offsets.state, offset_of!(TcpFigures, state) + state_byte, 1);
    figures
}

//! Reads the kernel's own sockets, at offsets that user space takes from the running kernel's type information.
//!
//! TCP's sockets come from a cache of one type (`SLAB_TYPESAFE_BY_RCU`): a stale address still points to a TCP
//! socket, perhaps another connection's, so what is read is believed only where its ends are the expected ones.

use core::mem::MaybeUninit;

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel};
use mesh_common::{
    accel::{SockOffsets, SocketKey},
    decide::guard::View,
};

/// Where the fields are, in bytes from the start of `struct tcp_sock`.
#[unsafe(no_mangle)]
static SOCK_OFFSETS: Global<SockOffsets> = Global::new(SockOffsets::NONE);

/// A field of a socket; `None` where its address can't be read.
#[inline(always)]
fn field<T: Copy>(sk: u64, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let from = (sk + u64::from(offset)) as *const core::ffi::c_void;
    #[expect(clippy::cast_possible_truncation, reason = "a field has a few bytes")]
    let len = size_of::<T>() as u32;
    // SAFETY: the helper reads any kernel address, and fills the value or answers with an error.
    let error = unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), len, from) };
    // SAFETY: no error, so every byte was written; callers ask for integers only.
    (error == 0).then(|| unsafe { value.assume_init() })
}

/// The next sequence number the socket's application will write.
#[inline(always)]
pub fn write_seq(sk: u64) -> Option<u32> {
    field(sk, SOCK_OFFSETS.load().write_seq)
}

/// Whether the socket is a subflow of MPTCP. One that can't be read counts as one.
#[inline(always)]
pub fn is_mptcp(sk: u64) -> bool {
    let offset = SOCK_OFFSETS.load().is_mptcp;
    offset != SockOffsets::ABSENT && field(sk, offset) != Some(0_u8)
}

/// Whether an upper layer protocol sits on the socket. One that can't be read counts so.
#[inline(always)]
pub fn has_layer_above(sk: u64) -> bool {
    field(sk, SOCK_OFFSETS.load().layer_above) != Some(0_u64)
}

/// What the guard must know to let the socket at `own` send `size` bytes to the one at `peer`, whose ends must
/// be those of `key`.
#[inline(always)]
pub fn view(own: u64, peer: u64, key: &SocketKey, size: u32) -> Option<View> {
    let offsets = SOCK_OFFSETS.load();
    has_ends(peer, key, &offsets).then_some(())?;
    Some(View {
        size,
        write_seq: field(own, offsets.write_seq)?,
        copied_seq: field(peer, offsets.copied_seq)?,
        queued: field(peer, offsets.queued)?,
        receive_buffer: field(peer, offsets.receive_buffer)?,
        state: field(peer, offsets.state)?,
        shutdown: field(peer, offsets.shutdown)?,
        layer_above: has_layer_above(own) || has_layer_above(peer),
    })
}

/// Whether the socket at `sk`, if its ends are those of `key`, was closed, or shut down for reading.
#[inline(always)]
pub fn reads_no_more(sk: u64, key: &SocketKey) -> bool {
    /// `RCV_SHUTDOWN`.
    const RECEIVE: u8 = 1;
    let offsets = SOCK_OFFSETS.load();
    has_ends(sk, key, &offsets) && field::<u8>(sk, offsets.shutdown).is_some_and(|shut| shut & RECEIVE != 0)
}

#[inline(always)]
fn has_ends(sk: u64, key: &SocketKey, offsets: &SockOffsets) -> bool {
    let ports = field(sk, offsets.local_port) == Some(key.local_port.get())
        && field(sk, offsets.remote_port) == Some(key.remote_port.network());
    if key.local.is_v4() {
        // Also on AF_INET6 sockets with mapped addresses.
        ports
            && field(sk, offsets.local_v4) == Some(key.local.v4_word())
            && field(sk, offsets.remote_v4) == Some(key.remote.v4_word())
    } else {
        ports
            && field(sk, offsets.local_v6) == Some(key.local.0)
            && field(sk, offsets.remote_v6) == Some(key.remote.0)
    }
}

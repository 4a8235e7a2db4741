//! The socket storage, from hooks whose context aya's `SkStorage` does not take.

use core::ptr;

use aya_ebpf::{bindings::bpf_sock, helpers::bpf_sk_storage_get};
use mesh_common::{accel::Accel, sock::SockState};

use crate::maps::SOCK_STATE;

/// `BPF_SK_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;

/// The storage of a socket, where it has one.
///
/// # Safety
/// `sk` is the socket of the current context, checked not to be null, or null.
#[inline(always)]
pub unsafe fn get(sk: *mut bpf_sock) -> Option<*mut SockState> {
    // SAFETY: the caller's word.
    unsafe { call(sk, 0) }
}

/// The storage of a socket, made and zeroed where it had none; `None` where there is no memory for it.
///
/// # Safety
/// As [`get`].
#[inline(always)]
pub unsafe fn get_or_create(sk: *mut bpf_sock) -> Option<*mut SockState> {
    // SAFETY: the caller's word.
    unsafe { call(sk, CREATE) }
}

/// Starts the acceleration of a socket from nothing.
#[inline(always)]
pub fn clear(accel: &mut Accel) {
    zero(accel);
}

/// Clears a value in the kernel's memory, a whole number of words long, for which all zero is a valid one. Word by word, and
/// volatile so that it stays so: what the compiler makes of a default value is a call of this target's `memset`, which
/// goes byte by byte.
#[inline(always)]
pub fn zero<T>(value: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(size_of::<u64>())) };
    let words: *mut u64 = value.cast();
    for at in 0..size_of::<T>() / size_of::<u64>() {
        // SAFETY: the words make up the value, which is aligned to them.
        unsafe { words.add(at).write_volatile(0) };
    }
}

#[inline(always)]
unsafe fn call(sk: *mut bpf_sock, flags: u64) -> Option<*mut SockState> {
    if sk.is_null() {
        return None;
    }
    let map = ptr::from_ref(&SOCK_STATE).cast_mut().cast();
    // SAFETY: the map is a socket storage with values of this type; the socket is the caller's word.
    let state = unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags) }.cast::<SockState>();
    (!state.is_null()).then_some(state)
}

//! Sockets of the mesh itself, marked by user space through their descriptor, so that no pod can forge it.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE, bpf_sock},
    helpers::bpf_sk_storage_get,
    macros::btf_map,
};

const FLAGS: usize = (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize;

/// A socket storage whose values go over to accepted sockets (`BPF_F_CLONE`), which aya's `SkStorage` can't
/// say. The loader reads the pointers' types; nobody reads the pointers.
#[repr(C)]
pub struct Marks {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const u32,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the pointers are never read.
unsafe impl Sync for Marks {}

#[btf_map]
pub static OWN_SOCKETS: Marks = Marks {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};

/// Whether this is a socket of the mesh itself.
///
/// # Safety
/// `sk` is the socket of the current context, checked not to be null, or null.
#[inline(always)]
pub unsafe fn is_own(sk: *mut bpf_sock) -> bool {
    if sk.is_null() {
        return false;
    }
    let map = ptr::from_ref(&OWN_SOCKETS).cast_mut().cast();
    // SAFETY: the map is a socket storage; the socket is the caller's word.
    let mark = unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), 0) }.cast::<u32>();
    // SAFETY: not null, so it is the socket's value.
    !mark.is_null() && unsafe { *mark } != 0
}

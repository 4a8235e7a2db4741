//! Tells where the kernel keeps sockets: for the start-up probe, which enrols a pair of its own from user space.

use core::mem::size_of;

use aya_ebpf::helpers::bpf_seq_write;
use mesh_common::accel::Located;

use crate::listing::{Context, socket_and_value};

#[expect(clippy::cast_possible_truncation, reason = "two words")]
const LEN: u32 = size_of::<Located>() as u32;

/// Writes one [`Located`] for every socket that has a storage.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
pub extern "C" fn mesh_address(ctx: *const Context) -> i32 {
    // SAFETY: the kernel passes a valid context.
    let Some((seq, sk, value)) = (unsafe { socket_and_value(ctx) }) else {
        return 0;
    };
    let located = Located {
        // SAFETY: not null, so it points to the storage of the socket at hand.
        cookie: unsafe { (*value).cookie },
        sk: sk.expose_provenance() as u64,
    };
    // SAFETY: the value is as long as said; a record that found no room is written again by the kernel.
    unsafe { bpf_seq_write(seq, core::ptr::from_ref(&located).cast(), LEN) };
    0
}

//! The kernel programs of the mesh: one file per hook, thin; what is decided without the kernel is decided
//! in `mesh_common::decide`.
//!
//! Built for `bpfel-unknown-none` by `cargo xtask build-ebpf`. On the host this crate is only checked, so
//! that clippy, rustdoc and rust-analyzer see it like any other.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    clippy::inline_always,
    reason = "the verifier follows programs, not calls: everything is inlined"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the entry points get their context by value from aya's macros"
)]

mod address;
mod backend;
mod connect;
mod context;
mod count;
mod datagram;
mod emit;
mod enrol;
mod established;
mod hosts;
mod inbound;
mod judge;
mod kernel;
mod listing;
mod lookup;
mod maps;
mod marks;
mod packet;
mod peername;
mod pending;
mod permit;
mod pod;
mod redirect;
mod refuse;
mod remember;
mod segment;
mod storage;
mod track;
mod traffic;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: no program contains a reachable panic (the verifier would refuse the endless loop).
    unsafe { core::hint::unreachable_unchecked() }
}

/// Helpers such as `bpf_set_retval` are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
#[cfg(target_arch = "bpf")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("the kernel programs are built by `cargo xtask build-ebpf`");
}

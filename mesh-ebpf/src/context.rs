//! The context of the socket address hooks (`struct bpf_sock_addr`).
//!
//! Every access is a volatile load or store of one word at a constant offset: the verifier rewrites context
//! accesses and refuses computed offsets, which LLVM makes when it merges the IPv4 and the IPv6 branch; so
//! the family is a constant parameter.

use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    programs::SockAddrContext,
};
use mesh_common::addr::{Addr, Port, Protocol};

/// Return value of a hook: go on.
pub const PROCEED: i32 = 1;
/// Return value of a hook: the system call fails.
pub const REJECT: i32 = 0;

/// What a refused caller gets from a host that has no listener.
const ECONNREFUSED: i32 = 111;
/// What a refused caller gets from a packet filter of its own host.
const EPERM: i32 = 1;

/// The address in the context, as the application (or the wire, on receive) gives it.
#[inline(always)]
pub fn addr<const V6: bool>(ctx: &SockAddrContext) -> Addr {
    let sock = ctx.sock_addr;
    if V6 {
        // SAFETY: the kernel passes a valid context; the field is readable in every IPv6 hook.
        let word = |at: usize| unsafe { read_volatile(addr_of!((*sock).user_ip6[at])) };
        Addr([word(0), word(1), word(2), word(3)])
    } else {
        // SAFETY: as above, in every IPv4 hook.
        Addr::from_v4_word(unsafe { read_volatile(addr_of!((*sock).user_ip4)) })
    }
}

/// The port in the context.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel keeps 16 bits in this word"
)]
pub fn port(ctx: &SockAddrContext) -> Port {
    // SAFETY: the kernel passes a valid context; the field is readable in every hook.
    Port::from_network(unsafe { read_volatile(addr_of!((*ctx.sock_addr).user_port)) } as u16)
}

/// Replaces address and port in the context.
#[inline(always)]
pub fn set_peer<const V6: bool>(ctx: &SockAddrContext, addr: &Addr, port: Port) {
    let sock = ctx.sock_addr;
    if V6 {
        for (at, word) in addr.0.into_iter().enumerate() {
            // SAFETY: the field is writable in every IPv6 hook this crate has.
            unsafe { write_volatile(addr_of_mut!((*sock).user_ip6[at]), word) };
        }
    } else {
        // SAFETY: as above, in every IPv4 hook.
        unsafe { write_volatile(addr_of_mut!((*sock).user_ip4), addr.v4_word()) };
    }
    // SAFETY: the field is writable in every hook this crate has.
    unsafe { write_volatile(addr_of_mut!((*sock).user_port), u32::from(port.network())) };
}

/// The socket's protocol, where it is one the mesh handles; ping sockets and others are not.
#[inline(always)]
pub fn protocol(ctx: &SockAddrContext) -> Option<Protocol> {
    // SAFETY: the kernel passes a valid context; the field is readable in every hook.
    Protocol::from_number(unsafe { read_volatile(addr_of!((*ctx.sock_addr).protocol)) })
}

/// Cookie of the network namespace the socket lives in.
#[inline(always)]
pub fn netns_cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes this program type's context.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// Cookie of the socket, unique while the system is up.
#[inline(always)]
pub fn socket_cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes this program type's context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// The port the socket is bound to; 0 where it is not yet.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel keeps 16 bits in this word"
)]
pub fn local_port(ctx: &SockAddrContext) -> Port {
    // SAFETY: the kernel passes a valid context, with the socket in it.
    let port = unsafe {
        let sock = (*ctx.sock_addr).__bindgen_anon_1.sk;
        read_volatile(addr_of!((*sock).src_port))
    };
    // In host order.
    Port::new(port as u16)
}

/// Fails the system call with ECONNREFUSED, at once and without a packet.
#[inline(always)]
pub fn refuse() -> i32 {
    fail(ECONNREFUSED)
}

/// Fails the system call with EPERM, at once and without a packet.
#[inline(always)]
pub fn forbid() -> i32 {
    fail(EPERM)
}

#[inline(always)]
fn fail(errno: i32) -> i32 {
    // SAFETY: the helper sets the return value of the current cgroup hook (kernel 5.18 and newer).
    unsafe { bpf_set_retval(-errno) };
    REJECT
}

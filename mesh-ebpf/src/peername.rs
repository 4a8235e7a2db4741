//! `getpeername()` shows the application what it dialled.
//!
//! These hooks also run inside `accept()`, on sockets that have no storage: the server sees the real client.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

use crate::{
    context::{self, PROCEED},
    remember,
};

/// IPv4.
#[cgroup_sock_addr(getpeername4)]
pub fn mesh_peername4(ctx: SockAddrContext) -> i32 {
    restore::<false>(&ctx);
    PROCEED
}

/// IPv6, and IPv4-mapped peers of IPv6 sockets.
#[cgroup_sock_addr(getpeername6)]
pub fn mesh_peername6(ctx: SockAddrContext) -> i32 {
    restore::<true>(&ctx);
    PROCEED
}

#[inline(always)]
fn restore<const V6: bool>(ctx: &SockAddrContext) {
    if let Some((addr, port)) = remember::dialled(ctx, context::addr::<V6>(ctx), context::port(ctx)) {
        context::set_peer::<V6>(ctx, &addr, port);
    }
}

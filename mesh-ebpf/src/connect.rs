//! `connect()` of TCP and UDP sockets: a service's address becomes a backend's, before the first packet.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use mesh_common::{addr::Protocol, counter::Counter, service::Frontend};

use crate::{
    backend::{self, Choice},
    context::{self, PROCEED},
    count::count,
    pod,
    refuse::{self, Asked},
    remember,
};

/// IPv4.
#[cgroup_sock_addr(connect4)]
pub fn mesh_connect4(ctx: SockAddrContext) -> i32 {
    connect::<false>(&ctx)
}

/// IPv6, and IPv4-mapped addresses on IPv6 sockets.
#[cgroup_sock_addr(connect6)]
pub fn mesh_connect6(ctx: SockAddrContext) -> i32 {
    connect::<true>(&ctx)
}

#[inline(always)]
fn connect<const V6: bool>(ctx: &SockAddrContext) -> i32 {
    let Some(protocol) = context::protocol(ctx) else {
        return PROCEED;
    };
    let Some(pod) = pod::of_caller(ctx) else {
        return PROCEED;
    };
    let frontend = Frontend::new(context::addr::<V6>(ctx), context::port(ctx), protocol);
    if pod.is_held(&frontend.addr) {
        return refuse::pending(&pod, &frontend);
    }
    if pod.pending && protocol == Protocol::Tcp {
        remember::pending(ctx, &pod);
    }
    let Some(service) = backend::service(&frontend) else {
        remember::forget(ctx);
        if protocol == Protocol::Udp {
            remember::asked_directly(context::socket_cookie(ctx), frontend.addr, frontend.port);
        }
        return PROCEED;
    };
    let sticky = match protocol {
        Protocol::Tcp => None,
        Protocol::Udp => remember::flow(context::socket_cookie(ctx), service),
    };
    let asked = Asked {
        pod: &pod,
        frontend: &frontend,
        service,
    };
    match backend::choose(&frontend, service, &pod, sticky) {
        Choice::Backend(chosen) => {
            remember::connection(ctx, &asked, &chosen);
            if protocol == Protocol::Udp {
                remember::datagram(context::socket_cookie(ctx), &asked, &chosen, sticky);
            }
            context::set_peer::<V6>(ctx, &chosen.backend.addr, chosen.backend.port);
            count(Counter::Translated);
            PROCEED
        }
        Choice::NoEndpoint => refuse::no_endpoint(&asked, Counter::NoEndpoint),
        Choice::Inconsistent => refuse::inconsistent(&asked),
    }
}

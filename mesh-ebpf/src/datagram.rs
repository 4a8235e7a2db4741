//! Unconnected UDP: every datagram to a service goes to the backend this socket keeps for it, and what the
//! backend answers appears to come from the address that was asked.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use mesh_common::{addr::Protocol, counter::Counter, service::Frontend};

use crate::{
    backend::{self, Choice},
    context::{self, PROCEED, REJECT},
    count::count,
    permit::{self, Passage, leads},
    pod,
    refuse::{self, Asked},
    remember,
};

/// Sending over IPv4, also from IPv6 sockets to IPv4-mapped addresses.
#[cgroup_sock_addr(sendmsg4)]
pub fn mesh_sendmsg4(ctx: SockAddrContext) -> i32 {
    send::<false>(&ctx)
}

/// Sending over IPv6.
#[cgroup_sock_addr(sendmsg6)]
pub fn mesh_sendmsg6(ctx: SockAddrContext) -> i32 {
    send::<true>(&ctx)
}

/// Receiving on IPv4 sockets.
#[cgroup_sock_addr(recvmsg4)]
pub fn mesh_recvmsg4(ctx: SockAddrContext) -> i32 {
    receive::<false>(&ctx);
    PROCEED
}

/// Receiving on IPv6 sockets, also from IPv4-mapped addresses.
#[cgroup_sock_addr(recvmsg6)]
pub fn mesh_recvmsg6(ctx: SockAddrContext) -> i32 {
    receive::<true>(&ctx);
    PROCEED
}

#[inline(always)]
fn send<const V6: bool>(ctx: &SockAddrContext) -> i32 {
    if context::protocol(ctx) != Some(Protocol::Udp) {
        return PROCEED;
    }
    let Some(pod) = pod::of_caller(ctx) else {
        return PROCEED;
    };
    let frontend = Frontend::new(context::addr::<V6>(ctx), context::port(ctx), Protocol::Udp);
    if pod.is_held(&frontend.addr) {
        return refuse::pending(&pod, &frontend);
    }
    let socket = context::socket_cookie(ctx);
    // A connected IPv6 socket with an IPv4-mapped peer runs this hook at every send, with the backend that
    // connect() chose: leave it, also where the backend's address happens to be a service.
    let connected = remember::is_connected_to(ctx, frontend.addr, frontend.port);
    let service = if connected {
        None
    } else {
        backend::service(&frontend)
    };
    let asked = Asked {
        pod: &pod,
        frontend: &frontend,
        service: service.unwrap_or(0),
    };
    let before = service.and_then(|service| remember::flow(socket, service));
    let chosen = match service.map(|service| backend::choose(&frontend, service, &pod, before)) {
        None => None,
        Some(Choice::Backend(chosen)) => Some(chosen),
        Some(Choice::NoEndpoint) => return refuse::no_endpoint(&asked, Counter::DatagramNoEndpoint),
        Some(Choice::Inconsistent) => return refuse::inconsistent(&asked),
    };
    let passage = Passage {
        asked: &asked,
        to: leads(&frontend, chosen.as_ref()),
        protocol: Protocol::Udp,
    };
    if permit::refused(ctx, &passage) {
        return REJECT;
    }
    let Some(chosen) = chosen else {
        if !connected {
            remember::asked_directly(socket, frontend.addr, frontend.port);
        }
        return PROCEED;
    };
    remember::datagram(socket, &asked, &chosen, before);
    context::set_peer::<V6>(ctx, &chosen.backend.addr, chosen.backend.port);
    count(Counter::DatagramTranslated);
    PROCEED
}

#[inline(always)]
fn receive<const V6: bool>(ctx: &SockAddrContext) {
    if context::protocol(ctx) != Some(Protocol::Udp) || pod::of_caller(ctx).is_none() {
        return;
    }
    let from = (context::addr::<V6>(ctx), context::port(ctx));
    if let Some((addr, port)) = remember::asked(context::socket_cookie(ctx), from.0, from.1) {
        context::set_peer::<V6>(ctx, &addr, port);
    }
}

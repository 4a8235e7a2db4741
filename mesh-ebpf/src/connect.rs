//! `connect()` of TCP and UDP sockets: a service's address becomes a backend's, before the first packet.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use mesh_common::{
    addr::{Port, Protocol},
    counter::Counter,
    service::Frontend,
};

use crate::{
    backend::{self, Choice},
    context::{self, PROCEED, REJECT},
    count::count,
    permit::{self, Passage, leads},
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
    let service = backend::service(&frontend);
    let asked = Asked {
        pod: &pod,
        frontend: &frontend,
        service: service.unwrap_or(0),
    };
    let sticky = match (protocol, service) {
        (Protocol::Udp, Some(service)) => remember::flow(context::socket_cookie(ctx), service),
        _ => None,
    };
    let chosen = match service.map(|service| backend::choose(&frontend, service, &pod, sticky)) {
        None => None,
        Some(Choice::Backend(chosen)) => Some(chosen),
        Some(Choice::NoEndpoint) => return refuse::no_endpoint(&asked, Counter::NoEndpoint),
        Some(Choice::Inconsistent) => return refuse::inconsistent(&asked),
    };
    let to = leads(&frontend, chosen.as_ref());
    if !is_probe(protocol, to.port)
        && permit::refused(
            ctx,
            &Passage {
                asked: &asked,
                to,
                protocol,
            },
        )
    {
        return REJECT;
    }
    let Some(chosen) = chosen else {
        remember::forget(ctx);
        if protocol == Protocol::Udp {
            remember::asked_directly(context::socket_cookie(ctx), frontend.addr, frontend.port);
        }
        return PROCEED;
    };
    remember::connection(ctx, &asked, &chosen);
    if protocol == Protocol::Udp {
        remember::datagram(context::socket_cookie(ctx), &asked, &chosen, sticky);
    }
    context::set_peer::<V6>(ctx, &chosen.backend.addr, chosen.backend.port);
    count(Counter::Translated);
    PROCEED
}

/// Whether this is how a resolver sorts addresses (RFC 6724): it connects UDP sockets to a port that nobody means, asks
/// for their own address, and sends nothing. So does `ping` (1025). What is sent there nevertheless is judged at the pod's
/// interface.
#[inline(always)]
const fn is_probe(protocol: Protocol, port: Port) -> bool {
    matches!(protocol, Protocol::Udp) && matches!(port.get(), 0 | 9 | 1025 | 65_535)
}

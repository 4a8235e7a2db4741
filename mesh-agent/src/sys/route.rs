//! Route netlink: interfaces, and what is attached to them.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NetlinkSerializable as _};
use netlink_packet_route::{RouteNetlinkMessage, link::LinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::netlink::{self, Request};
pub use super::netlink::{Answer, Outcome};

/// Asks for a listing, in the network namespace of the calling thread.
///
/// # Errors
/// The kernel's.
pub fn list(message: &RouteNetlinkMessage) -> Outcome {
    netlink::ask(NETLINK_ROUTE, request(NLM_F_DUMP, message))
}

/// Asks, or orders, in the network namespace of the calling thread; what came of each, in order. All go out in one
/// system call, see [`netlink::exchange`].
///
/// # Errors
/// Where the requests can't be sent or the answers not be read.
pub fn ask(requests: Vec<(u16, RouteNetlinkMessage)>) -> io::Result<Vec<Outcome>> {
    let acknowledged = requests
        .into_iter()
        .map(|(flags, message)| request(flags | NLM_F_ACK, &message));
    netlink::exchange(NETLINK_ROUTE, &acknowledged.collect::<Vec<_>>())
}

fn request(flags: u16, message: &RouteNetlinkMessage) -> Request {
    let mut body = vec![0; message.buffer_len()];
    message.serialize(&mut body);
    Request {
        kind: message.message_type(),
        flags,
        body,
    }
}

/// Indices of the interfaces of the current network namespace.
///
/// # Errors
/// The kernel's.
pub fn interfaces() -> io::Result<Vec<u32>> {
    /// `struct ifinfomsg`, to the index.
    #[derive(FromBytes, Immutable, KnownLayout)]
    #[repr(C)]
    struct Interface {
        family_type: [u16; 2],
        index: u32,
    }
    let answers = list(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let index = |answer: &Answer| {
        let (link, _) = Interface::read_from_prefix(&answer.body).ok()?;
        Some(link.index)
    };
    Ok(answers.iter().filter_map(index).collect())
}

/// A socket that does not block and has something to read once an address of the current network namespace came or
/// went.
///
/// # Errors
/// The kernel's.
pub fn watch_addresses() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    socket.bind_auto()?;
    for group in [libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR] {
        socket.add_membership(group)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_has_its_loopback() {
        assert!(interfaces().unwrap().contains(&1));
    }
}

//! Route netlink: requests that go out in one system call, and what comes back.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{RouteNetlinkMessage, link::LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// A message that answers a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its type (`RTM_…`).
    pub kind: u16,
    /// What follows its header.
    pub body: Vec<u8>,
}

/// What came of one request.
pub type Outcome = io::Result<Vec<Answer>>;

/// Asks for a listing, in the network namespace of the calling thread.
///
/// # Errors
/// The kernel's.
pub fn list(request: RouteNetlinkMessage) -> Outcome {
    exchange(vec![(NLM_F_DUMP, request)])?
        .pop()
        .unwrap_or(Ok(Vec::new()))
}

/// Asks, or orders, in the network namespace of the calling thread; what came of each, in order.
///
/// All requests go out in one system call and the kernel carries them out before it returns: whoever kills this
/// process meets either none of them or all.
///
/// # Errors
/// Where the requests can't be sent or the answers not be read.
pub fn ask(requests: Vec<(u16, RouteNetlinkMessage)>) -> io::Result<Vec<Outcome>> {
    let acknowledged = requests
        .into_iter()
        .map(|(flags, request)| (flags | NLM_F_ACK, request));
    exchange(acknowledged.collect())
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
    let answers = list(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
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

fn exchange(requests: Vec<(u16, RouteNetlinkMessage)>) -> io::Result<Vec<Outcome>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut replies = Replies::to(requests.len());
    socket.send(&bytes(requests), 0)?;
    while !replies.are_complete() {
        let (datagram, _) = socket.recv_from_full()?;
        replies.read(&datagram)?;
    }
    Ok(replies.outcomes)
}

/// The requests one behind the other, numbered from 0, each padded to four bytes.
fn bytes(requests: Vec<(u16, RouteNetlinkMessage)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, (flags, request)) in (0..).zip(requests) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = number;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..start + message.buffer_len()]);
    }
    bytes
}

/// `struct nlmsghdr`.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    len: u32,
    kind: u16,
    flags: u16,
    request: u32,
    port: u32,
}

/// What came back so far.
struct Replies {
    outcomes: Vec<Outcome>,
    complete: Vec<bool>,
}

impl Replies {
    fn to(requests: usize) -> Self {
        Self {
            outcomes: (0..requests).map(|_| Ok(Vec::new())).collect(),
            complete: vec![false; requests],
        }
    }

    fn are_complete(&self) -> bool {
        self.complete.iter().all(|complete| *complete)
    }

    /// Reads a datagram of answers.
    fn read(&mut self, mut datagram: &[u8]) -> io::Result<()> {
        /// `NLMSG_ERROR`, which with the error 0 is an acknowledgement, and `NLMSG_DONE`.
        const LAST: [u16; 2] = [2, 3];
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged netlink answer");
        while !datagram.is_empty() {
            let (header, _) = Header::read_from_prefix(datagram).map_err(|_| damaged())?;
            let len = header.len as usize;
            let body = datagram.get(size_of::<Header>()..len).ok_or_else(damaged)?;
            datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
            let number = header.request as usize;
            let Some(outcome) = self.outcomes.get_mut(number) else {
                continue;
            };
            if LAST.contains(&header.kind) {
                self.complete[number] = true;
                let (error, _) = i32::read_from_prefix(body).map_err(|_| damaged())?;
                if error != 0 {
                    *outcome = Err(io::Error::from_raw_os_error(error.wrapping_neg()));
                }
            } else if let Ok(answers) = outcome {
                answers.push(Answer {
                    kind: header.kind,
                    body: body.to_vec(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, request: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(16 + body.len()).unwrap();
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend([kind.to_ne_bytes(), [0, 0]].concat());
        bytes.extend([request.to_ne_bytes(), [0; 4]].concat());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn answers_find_their_requests() {
        let mut replies = Replies::to(2);
        let exists = (-libc::EEXIST).to_ne_bytes();
        let datagram = [message(2, 0, &exists), message(36, 1, b"abc")].concat();
        replies.read(&datagram).unwrap();
        assert!(!replies.are_complete());
        replies.read(&message(2, 1, &[0; 4])).unwrap();
        assert!(replies.are_complete());
        let error = replies.outcomes[0].as_ref().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
        let answers = replies.outcomes[1].as_ref().unwrap();
        assert_eq!((answers[0].kind, answers[0].body.as_slice()), (36, &b"abc"[..]));
    }

    #[test]
    fn damaged_answers_are_errors() {
        let mut replies = Replies::to(1);
        assert!(replies.read(&[1, 2, 3]).is_err());
        let mut short = message(2, 0, &[0; 4]);
        short[0] = 200;
        assert!(replies.read(&short).is_err());
    }

    #[test]
    fn every_namespace_has_its_loopback() {
        assert!(interfaces().unwrap().contains(&1));
    }
}

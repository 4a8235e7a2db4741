//! Network interfaces, and which one on the host is the other end of a pod's.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// An interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its index in its own namespace.
    pub index: u32,
    /// Index of the other end, or of the device below, in whatever namespace that is.
    pub peer: Option<u32>,
    /// Whether it is an end of a virtual Ethernet pair (or of a netkit one).
    pub is_pair: bool,
}

/// The interfaces of the current network namespace.
///
/// # Errors
/// The kernel's.
pub fn list() -> io::Result<Vec<Link>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(request));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut links = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        if !read(&answer, &mut links)? {
            return Ok(links);
        }
    }
}

/// The interface on the host that is the other end of one of the pod's: both must say so of each other.
/// `None` for pods whose interfaces have no end on the host (ipvlan, macvlan, SR-IOV).
#[must_use]
pub fn host_end(pod: &[Link], host: &[Link]) -> Option<u32> {
    pod.iter().filter(|link| link.is_pair).find_map(|link| {
        let candidate = host.iter().find(|end| Some(end.index) == link.peer)?;
        (candidate.is_pair && candidate.peer == Some(link.index)).then_some(candidate.index)
    })
}

/// Reads one answer; returns whether more will come.
fn read(mut answer: &[u8], links: &mut Vec<Link>) -> io::Result<bool> {
    while !answer.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(false),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.push(describe(&link)),
            _ => {}
        }
        // Messages are padded to four bytes.
        let len = (message.header.length as usize).next_multiple_of(4);
        if len == 0 {
            break;
        }
        answer = answer.get(len..).unwrap_or_default();
    }
    Ok(true)
}

fn describe(link: &LinkMessage) -> Link {
    let mut described = Link {
        index: link.header.index,
        peer: None,
        is_pair: false,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(peer) => described.peer = Some(*peer),
            LinkAttribute::LinkInfo(infos) => {
                described.is_pair = infos.iter().any(|info| match info {
                    LinkInfo::Kind(InfoKind::Veth) => true,
                    LinkInfo::Kind(kind) => kind.to_string() == "netkit",
                    _ => false,
                });
            }
            _ => {}
        }
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn link(index: u32, peer: u32, is_pair: bool) -> Link {
        Link {
            index,
            peer: Some(peer),
            is_pair,
        }
    }

    #[test]
    fn both_ends_must_agree() {
        let pod = [
            Link {
                index: 1,
                peer: None,
                is_pair: false,
            },
            link(2, 7, true),
        ];
        assert_eq!(host_end(&pod, &[link(7, 2, true), link(8, 2, true)]), Some(7));
        assert_eq!(host_end(&pod, &[link(7, 3, true)]), None);
        assert_eq!(host_end(&pod, &[link(7, 2, false)]), None);
    }

    #[test]
    fn a_device_below_is_no_other_end() {
        // ipvlan: the pod's interface names the host's eth0 as what it lies on.
        assert_eq!(host_end(&[link(2, 3, false)], &[link(3, 9, false)]), None);
    }

    #[test]
    fn every_namespace_has_its_loopback() {
        assert!(list().unwrap().iter().any(|link| link.index == 1));
    }
}

//! Network interfaces, and which one on the host is the other end of a pod's.

use std::io;

use netlink_packet_core::Parseable as _;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};

use crate::sys::route;

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
    let answers = route::list(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let link = |answer: &route::Answer| {
        let message = LinkMessage::parse(&answer.body).map_err(io::Error::other)?;
        Ok(describe(&message))
    };
    answers.iter().map(link).collect()
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

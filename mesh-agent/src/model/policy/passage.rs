//! Connections that are open, as the policies of the pod at this end see them.

use mesh_common::addr::{Addr, Port, Protocol};
use mesh_common::policy::Direction;
use mesh_common::sock::{SockState, flag};

/// What a pod's socket does, as its policies ask. Many connections do the same.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Passage {
    /// Workload id of the pod whose socket it is.
    pub pod: u32,
    /// Whether it asked or was asked.
    pub direction: Direction,
    /// Address of the other end.
    pub other: Addr,
    /// The protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: Port,
}

impl Passage {
    /// From a socket's record; `None` where it is not connected, or where policies don't matter.
    #[must_use]
    pub fn of(sock: &SockState) -> Option<Self> {
        let (direction, protocol, port) = match sock.flags & (flag::ACTIVE | flag::PASSIVE | flag::DATAGRAM) {
            flag::ACTIVE => (Direction::Egress, Protocol::Tcp, sock.remote_port),
            flag::PASSIVE => (Direction::Ingress, Protocol::Tcp, sock.local_port),
            flag::DATAGRAM => (Direction::Egress, Protocol::Udp, sock.remote_port),
            _ => return None,
        };
        let other = sock.remote_addr;
        (!other.is_loopback() && other != sock.local_addr).then_some(Self {
            pod: sock.pod,
            direction,
            other,
            protocol,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sock(flags: u32) -> SockState {
        SockState {
            pod: 7,
            flags,
            local_addr: "10.0.0.1".parse::<std::net::IpAddr>().unwrap().into(),
            remote_addr: "10.0.0.2".parse::<std::net::IpAddr>().unwrap().into(),
            local_port: Port::new(1),
            remote_port: Port::new(2),
            ..SockState::default()
        }
    }

    #[test]
    fn each_end_has_its_direction_and_port() {
        let asked = |flags| Passage::of(&sock(flags)).map(|it| (it.direction, it.protocol, it.port.get()));
        assert_eq!(asked(flag::ACTIVE), Some((Direction::Egress, Protocol::Tcp, 2)));
        assert_eq!(asked(flag::PASSIVE), Some((Direction::Ingress, Protocol::Tcp, 1)));
        assert_eq!(asked(flag::DATAGRAM), Some((Direction::Egress, Protocol::Udp, 2)));
        assert_eq!(asked(0), None);
    }

    #[test]
    fn what_stays_in_the_pod_is_not_asked_about() {
        let own = SockState {
            remote_addr: sock(0).local_addr,
            ..sock(flag::ACTIVE)
        };
        let loopback = SockState {
            remote_addr: "127.0.0.1".parse::<std::net::IpAddr>().unwrap().into(),
            ..sock(flag::ACTIVE)
        };
        assert_eq!([own, loopback].map(|sock| Passage::of(&sock)), [None, None]);
    }
}

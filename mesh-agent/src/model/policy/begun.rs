//! Connections that no program saw begin, as the policies of the pod at this end see them.
//!
//! The kernel does not tell who opened a connection. What it does tell mostly shows it: whoever was asked still listens
//! at that port, and whoever asks does so from a port of the range that is for it. Where neither is certain, a connection
//! may have been opened by either end, and goes on if policies let one of the two.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use mesh_common::addr::{Addr, Port, Protocol};
use mesh_common::policy::Direction;

use super::Passage;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begun {
    /// The pod.
    ByPod,
    /// The other end.
    ByPeer,
    /// One of the two.
    ByEither,
}

/// What a pod's network namespace tells of the ports in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ports {
    /// Where somebody waits to be asked: ports of sockets that are connected to nobody.
    pub served: Vec<u16>,
    /// From where the kernel lets connections be opened where nobody chose a port (`ip_local_port_range`).
    pub ephemeral: RangeInclusive<u16>,
}

impl Ports {
    /// Who opened the connection between these ports.
    #[must_use]
    pub fn begun(&self, local: u16, remote: u16) -> Begun {
        let is_ephemeral = |port| self.ephemeral.contains(&port);
        if self.served.contains(&local) {
            Begun::ByPeer
        } else if is_ephemeral(local) && !is_ephemeral(remote) {
            Begun::ByPod
        } else {
            Begun::ByEither
        }
    }
}

/// What policies are asked about a connection of a pod: it goes on if one of these is allowed. Nothing where policies
/// don't matter.
#[must_use]
pub fn passages(
    pod: u32,
    protocol: Protocol,
    local: SocketAddr,
    remote: SocketAddr,
    begun: Begun,
) -> Vec<Passage> {
    let other = Addr::from(remote.ip());
    if other.is_loopback() || remote.ip() == local.ip() {
        return Vec::new();
    }
    let of = |direction, port| Passage {
        pod,
        direction,
        other,
        protocol,
        port: Port::new(port),
    };
    let (asked, was_asked) = (
        of(Direction::Egress, remote.port()),
        of(Direction::Ingress, local.port()),
    );
    match begun {
        Begun::ByPod => vec![asked],
        Begun::ByPeer => vec![was_asked],
        Begun::ByEither => vec![asked, was_asked],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_show_who_asked() {
        let ports = Ports {
            served: vec![8080, 40_000],
            ephemeral: 32_768..=60_999,
        };
        for (local, remote, begun) in [
            (8080, 50_000, Begun::ByPeer),
            (40_000, 443, Begun::ByPeer),
            (50_000, 8080, Begun::ByPod),
            (32_768, 60_999 + 1, Begun::ByPod),
            // The listener is closed, or both chose.
            (9090, 50_000, Begun::ByEither),
            (179, 180, Begun::ByEither),
            // Data of FTP.
            (50_000, 50_001, Begun::ByEither),
        ] {
            assert_eq!(ports.begun(local, remote), begun, "{local} {remote}");
        }
    }

    #[test]
    fn each_end_that_may_have_asked_is_asked_about() {
        let (local, remote) = (
            "10.0.0.1:1".parse().unwrap(),
            "10.0.0.2:2".parse::<SocketAddr>().unwrap(),
        );
        for (begun, expected) in [
            (Begun::ByPod, &[(Direction::Egress, 2)][..]),
            (Begun::ByPeer, &[(Direction::Ingress, 1)]),
            (
                Begun::ByEither,
                &[(Direction::Egress, 2), (Direction::Ingress, 1)],
            ),
        ] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let asked = passages(7, protocol, local, remote, begun);
                let parts: Vec<_> = asked.iter().map(|it| (it.direction, it.port.get())).collect();
                assert_eq!(parts, expected);
                let same =
                    |it: &Passage| (it.pod, it.protocol, it.other) == (7, protocol, Addr::from(remote.ip()));
                assert!(asked.iter().all(same));
            }
        }
    }

    #[test]
    fn what_stays_in_the_pod_is_not_asked_about() {
        let local = "10.0.0.1:1".parse().unwrap();
        for remote in ["10.0.0.1:2", "127.0.0.1:2", "[::1]:2"] {
            let asked = passages(7, Protocol::Tcp, local, remote.parse().unwrap(), Begun::ByEither);
            assert_eq!(asked, [], "{remote}");
        }
    }
}

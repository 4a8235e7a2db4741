//! The addresses in the host's network namespace, where its own listeners may be: what pods send there must reach
//! them, also where the address is a cluster IP (`NodeLocal DNSCache` puts that of kube-dns on a dummy interface).

use std::{
    collections::BTreeSet,
    future, io,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use mesh_common::addr::Addr;
use netlink_sys::Socket;
use tokio::{io::unix::AsyncFd, time::sleep};

use crate::sys::{netns::Host, route, wait};

/// The dummy interface on which kube-proxy in IPVS mode puts the addresses of all Services. Nobody listens there.
const IPVS: &str = "kube-ipvs0";

/// The pause before the addresses are read again where that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the addresses of the host's network namespace.
#[derive(Debug)]
pub struct HostAddresses {
    host: Host,
    socket: Socket,
    ready: AsyncFd<OwnedFd>,
    known: BTreeSet<Addr>,
    /// Whether something changed since they were read.
    stale: bool,
}

impl HostAddresses {
    /// Starts watching, and reads them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch(host: &Host) -> io::Result<Self> {
        // Watched before they are read, so that no change falls between.
        let socket = host.run(route::watch_addresses)?;
        Ok(Self {
            ready: wait::readable(socket.as_fd().try_clone_to_owned()?)?,
            socket,
            known: host.run(read)?,
            host: host.clone(),
            stale: false,
        })
    }

    /// The addresses, as last seen.
    #[must_use]
    pub fn known(&self) -> BTreeSet<Addr> {
        self.known.clone()
    }

    /// The addresses, once they are others than before. Can be dropped and called again without a loss.
    pub async fn changed(&mut self) -> BTreeSet<Addr> {
        loop {
            if !self.stale {
                self.notified().await;
                self.stale = true;
            }
            match self.host.run(read) {
                Ok(addresses) => {
                    self.stale = false;
                    if addresses != self.known {
                        self.known = addresses;
                        return self.known.clone();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the addresses of the host can't be read; those known go on to count");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Comes when an address came or went. All of them are read then, so messages are not, and may be lost.
    async fn notified(&self) {
        let Ok(mut guard) = self.ready.readable().await else {
            // Only when the runtime ends.
            return future::pending().await;
        };
        while let Ok(Ok(_)) = guard.try_io(|_| self.socket.recv_from_full()) {}
    }
}

fn read() -> io::Result<BTreeSet<Addr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    let addresses = interfaces.filter_map(|interface| {
        let storage = interface.address?;
        let v4 = storage.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
        let ip = v4.or_else(|| storage.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip())))?;
        counts(&interface.interface_name, ip).then(|| ip.into())
    });
    Ok(addresses.collect())
}

/// Whether an address on an interface is one that a Service and a listener of the host may share. Link-local ones of
/// IPv6 come with every pod, and no Service has one.
fn counts(interface: &str, ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    interface != IPVS && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_listens_at_do_not_count() {
        for (interface, ip, expected) in [
            ("lo", "127.0.0.1", true),
            ("eth0", "192.168.0.1", true),
            ("nodelocaldns", "10.96.0.10", true),
            ("nodelocaldns", "169.254.20.10", true),
            ("nodelocaldns", "fd00:96::a", true),
            ("kube-ipvs0", "10.96.0.10", false),
            ("kube-ipvs0", "fd00:96::a", false),
            ("kube-ipvs0x", "10.96.0.10", true),
            ("veth1", "fe80::1", false),
        ] {
            assert_eq!(
                counts(interface, ip.parse().unwrap()),
                expected,
                "{interface} {ip}"
            );
        }
    }

    #[tokio::test]
    async fn the_loopback_is_there() {
        let host = HostAddresses::watch(&Host::open(None).unwrap()).unwrap();
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(host.known().contains(&loopback.into()));
    }
}

//! Pods: network namespaces on the bridge of a node.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

use crate::launch::Launch;
use crate::node::{Node, host_link};
use crate::place::Place;
use crate::traffic::{TcpServer, UdpServer};

/// A handle of a pod. The pod lives until [`Pod::delete`] or the end of its sandbox.
#[derive(Clone, Debug)]
pub struct Pod {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    node: Node,
    link: String,
    ips: Vec<IpAddr>,
    deleted: AtomicBool,
}

impl Pod {
    pub(crate) fn create(
        place: Place,
        netns: &crate::netns::Netns,
        node: Node,
        ips: &[IpAddr],
    ) -> Result<Self> {
        let link = host_link(place.name());
        node.connect(netns, &link, ips)
            .with_context(|| format!("connecting pod {}", place.name()))?;
        let inner = Inner {
            place,
            node,
            link,
            ips: ips.to_vec(),
            deleted: AtomicBool::new(false),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Runs `work` in a thread inside the pod and returns what it returns, or panics as it panicked.
    ///
    /// # Panics
    ///
    /// When the pod was deleted.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.inner.place.run(work)
    }

    /// A program to be started inside the pod.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Launch {
        self.inner.place.command(program)
    }

    /// Starts a TCP server inside the pod, see [`TcpServer`].
    pub fn serve_tcp(&self, addr: SocketAddr, name: &str) -> Result<TcpServer> {
        TcpServer::start(&self.inner.place, addr, name)
    }

    /// Starts a UDP server inside the pod, see [`UdpServer`].
    pub fn serve_udp(&self, addr: SocketAddr, name: &str) -> Result<UdpServer> {
        UdpServer::start(&self.inner.place, addr, name)
    }

    /// The place inside the pod.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.inner.place
    }

    /// The pod's network namespace, but out of the mesh's cgroup.
    #[must_use]
    pub fn unenrolled(&self) -> Place {
        self.inner.place.unenrolled()
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.place.name()
    }

    /// All addresses.
    #[must_use]
    pub fn ips(&self) -> &[IpAddr] {
        &self.inner.ips
    }

    /// The first IPv4 address.
    ///
    /// # Panics
    ///
    /// When it has none.
    #[must_use]
    pub fn v4(&self) -> IpAddr {
        *self
            .ips()
            .iter()
            .find(|ip| ip.is_ipv4())
            .expect("a pod with an IPv4 address")
    }

    /// The first IPv6 address.
    ///
    /// # Panics
    ///
    /// When it has none.
    #[must_use]
    pub fn v6(&self) -> IpAddr {
        *self
            .ips()
            .iter()
            .find(|ip| ip.is_ipv6())
            .expect("a pod with an IPv6 address")
    }

    /// The host's end of the cable, an interface in the node's namespace.
    #[must_use]
    pub fn host_link(&self) -> &str {
        &self.inner.link
    }

    /// Handle of the network namespace.
    #[must_use]
    pub fn netns(&self) -> &Path {
        self.inner.place.netns()
    }

    /// The cookie by which the kernel's programs know the pod.
    pub fn netns_cookie(&self) -> io::Result<u64> {
        self.inner.place.netns_cookie()
    }

    /// Ends what runs inside and removes the pod. Its name and addresses are free again.
    pub fn delete(&self) -> Result<()> {
        if self.deleted_before() {
            return Ok(());
        }
        let Inner {
            place, node, link, ..
        } = &*self.inner;
        // The cable before the namespace, whose end would take it away at a time of its own.
        let evicted = place.evict().and(node.disconnect(link));
        evicted
            .and(place.demolish())
            .with_context(|| format!("deleting pod {}", self.name()))
    }

    /// As [`Pod::delete`], when the node's network goes too.
    pub(crate) fn demolish(&self) -> Result<()> {
        if self.deleted_before() {
            Ok(())
        } else {
            self.inner.place.demolish()
        }
    }

    fn deleted_before(&self) -> bool {
        self.inner.deleted.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.inner.deleted.load(Ordering::Acquire)
    }
}

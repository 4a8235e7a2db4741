//! A scene for many tests of balancing: a client, backends and services, in the namespace `shop`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use mesh_common::names::acceleration;

use crate::agent::Agent;
use crate::manifest::{self, Endpoint, Manifest, Port};
use crate::pod::Pod;
use crate::sandbox::Sandbox;
use crate::traffic::{TcpServer, UdpServer};
use crate::twins::{self, Path};

/// The namespace, in the mesh.
pub const NAMESPACE: &str = "shop";
/// Where all backends answer, TCP and UDP, on all their addresses.
pub const PORT: u16 = 8080;
/// Who answers for a service's address where the mesh leaves a client alone, see [`Shop::underlay`].
pub const UNTOUCHED: &str = "untouched";

/// The scene. No agent runs yet.
#[derive(Debug)]
pub struct Shop {
    /// A pod of the mesh that serves nothing.
    pub client: Pod,
    backends: Vec<Pod>,
    _servers: Vec<(TcpServer, UdpServer)>,
    path: Path,
    /// Last: all others live in it.
    pub sandbox: Sandbox,
}

impl Shop {
    /// A client and backends with these names.
    pub fn open(test_name: &str, backends: &[&str]) -> Result<Self> {
        Self::open_on(test_name, backends, Path::Tcp)
    }

    /// As [`Self::open`], with pods that ask for that path between them.
    pub fn open_on(test_name: &str, backends: &[&str], path: Path) -> Result<Self> {
        let sandbox = Sandbox::new(test_name)?;
        let client = sandbox.pod("client", &["10.0.1.1", "fd00::1:1"])?;
        let manifests = sandbox.manifests();
        let namespace = manifest::namespace(NAMESPACE, true);
        manifests.apply(&namespace.annotation(acceleration::ANNOTATION, path.annotation()))?;
        manifests.apply(&manifest::pod_of(NAMESPACE, &client, &[]))?;
        let (mut pods, mut servers) = (Vec::new(), Vec::new());
        for (number, name) in (11..).zip(backends) {
            let pod = sandbox.pod(name, &[&format!("10.0.1.{number}"), &format!("fd00::1:{number}")])?;
            manifests.apply(&manifest::pod_of(NAMESPACE, &pod, &[("app", name)]))?;
            let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
            servers.push((pod.serve_tcp(all, name)?, pod.serve_udp(all, name)?));
            pods.push(pod);
        }
        Ok(Self {
            client,
            backends: pods,
            _servers: servers,
            path,
            sandbox,
        })
    }

    /// Starts the agent; where pods ask for more than TCP, waits until they may have it.
    pub fn start(&self) -> Result<Agent> {
        let agent = self.sandbox.agent().start()?;
        if self.path == Path::Redirect {
            twins::wait_probed(&self.sandbox)?;
        }
        Ok(agent)
    }

    /// The backend of that name.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn backend(&self, name: &str) -> &Pod {
        let found = self.backends.iter().find(|pod| pod.name() == name);
        found.unwrap_or_else(|| panic!("no backend {name}"))
    }

    /// Another pod of the mesh that serves nothing, `10.0.2.number`.
    pub fn another_client(&self, number: u8) -> Result<Pod> {
        let ips = [format!("10.0.2.{number}"), format!("fd00::2:{number}")];
        let pod = self
            .sandbox
            .pod(&format!("client-{number}"), &ips.each_ref().map(String::as_str))?;
        let object = manifest::pod_of(NAMESPACE, &pod, &[]);
        self.sandbox.manifests().apply(&object)?;
        Ok(pod)
    }

    /// Creates or replaces a service with the addresses [`vips`] of a number, and its endpoints.
    pub fn sell(&self, name: &str, number: u8, ports: &[Port], backends: &[&str]) -> Result<()> {
        self.sell_as(&service(name, number, ports), name, ports, backends)
    }

    /// As [`Shop::sell`], with a Service of the test's own making.
    pub fn sell_as(&self, service: &Manifest, name: &str, ports: &[Port], backends: &[&str]) -> Result<()> {
        // The endpoints first, so that the service never stands without.
        self.staff(name, ports, backends)?;
        self.sandbox.manifests().apply(service)
    }

    /// Creates or replaces the endpoints of a service, all of them ready.
    pub fn staff(&self, service: &str, ports: &[Port], backends: &[&str]) -> Result<()> {
        let of =
            |name: &&str, ip: fn(&Pod) -> IpAddr| Endpoint::ready(ip(self.backend(name))).of(NAMESPACE, name);
        let v4: Vec<_> = backends.iter().map(|name| of(name, Pod::v4)).collect();
        let v6: Vec<_> = backends.iter().map(|name| of(name, Pod::v6)).collect();
        let slices = [("IPv4", v4), ("IPv6", v6)].map(|(family, endpoints)| {
            let name = format!("{service}-{}", family.to_lowercase());
            manifest::endpoint_slice(NAMESPACE, service, &name, ports, &endpoints).set("addressType", family)
        });
        self.sandbox.manifests().apply_all(&slices)
    }

    /// Makes the addresses of some services exist, as those of any other host: a pod out of the mesh has
    /// them and answers there as [`UNTOUCHED`].
    pub fn underlay(&self, services: &[SocketAddr]) -> Result<Underlay> {
        let pod = self.sandbox.pod("underlay", &["10.0.9.9", "fd00::9:9"])?;
        let mut ips: Vec<_> = services.iter().map(SocketAddr::ip).collect();
        ips.sort_unstable();
        ips.dedup();
        let mut servers = Vec::new();
        for ip in ips {
            let text = ip.to_string();
            let (via, flag) = if ip.is_ipv4() {
                (pod.v4(), "noprefixroute")
            } else {
                (pod.v6(), "nodad")
            };
            // On the interface it answers on: as long as that has no other address to ask neighbours from
            // (its link-local one takes a second), answers wait.
            run(pod
                .command("ip")
                .args(["addr", "add", &text, "dev", "eth0", flag]))?;
            let via = via.to_string();
            let node = self.sandbox.node();
            run(node.command("ip").args(["route", "add", &text, "via", &via]))?;
        }
        for &addr in services {
            servers.push((pod.serve_tcp(addr, UNTOUCHED)?, pod.serve_udp(addr, UNTOUCHED)?));
        }
        Ok(Underlay {
            pod,
            _servers: servers,
        })
    }
}

/// See [`Shop::underlay`].
#[derive(Debug)]
pub struct Underlay {
    /// The pod.
    pub pod: Pod,
    _servers: Vec<(TcpServer, UdpServer)>,
}

/// A Service without a selector.
#[must_use]
pub fn service(name: &str, number: u8, ports: &[Port]) -> Manifest {
    let ips = vips(number, 0).map(|addr| addr.ip());
    manifest::service(NAMESPACE, name, &ips, ports, &[])
}

/// Addresses of the service with a number, and a port: `10.96.0.number`, `fd00:96::number`.
#[must_use]
pub fn vips(number: u8, port: u16) -> [SocketAddr; 2] {
    let v4 = Ipv4Addr::new(10, 96, 0, number);
    let v6 = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, number.into());
    [(v4, port).into(), (v6, port).into()]
}

/// As [`vips`], and the first again as an IPv4-mapped address, for a socket of IPv6.
#[must_use]
pub fn all_vips(number: u8, port: u16) -> [SocketAddr; 3] {
    let [v4, v6] = vips(number, port);
    [v4, v6, mapped(v4)]
}

/// The same address for a socket of IPv6.
#[must_use]
pub fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::from((ip.to_ipv6_mapped(), addr.port())),
        IpAddr::V6(_) => addr,
    }
}

fn run(launch: crate::Launch) -> Result<()> {
    let output = launch.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    output
        .status
        .success()
        .then_some(())
        .with_context(|| format!("ip: {said}"))
}

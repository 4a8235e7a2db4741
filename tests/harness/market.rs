//! A scene for tests that are about the agent and not about services: a client, and services it asks.
//!
//! All is in the namespace `shop`. Service number `n` has the address `10.96.0.n`, port 80 for TCP and 53
//! for UDP; its backends are the pods whose label `app` is its name.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::manifest::{self, Manifest, Port};
use crate::traffic::{TcpServer, UdpServer, ask_tcp};
use crate::{Pod, Sandbox, kernel, until};

/// A node with the scene.
#[derive(Debug)]
pub struct Market {
    /// The node.
    pub sandbox: Sandbox,
    /// A pod, `10.0.1.1`.
    pub client: Pod,
}

/// A pod with a TCP server on port 8080 and a UDP server on port 5353, both named like the pod.
#[derive(Debug)]
pub struct Backend {
    /// The pod.
    pub pod: Pod,
    /// Its TCP server.
    pub tcp: TcpServer,
    /// Its UDP server.
    pub udp: UdpServer,
}

impl Market {
    /// A node with the client; the namespace is in the mesh, or not.
    pub fn open(test_name: &str, in_mesh: bool) -> Result<Self> {
        let sandbox = Sandbox::new(test_name)?;
        let client = pod_of(&sandbox, "client", &["10.0.1.1", "fd00::1:1"])?;
        let market = Self { sandbox, client };
        market.apply(&manifest::namespace("shop", in_mesh))?;
        market.apply(&manifest::pod("shop", "client", &[], market.client.ips()))?;
        Ok(market)
    }

    /// A node with the client and the service `web`, number 10, that the pods `web-1` (`10.0.1.11`) and `web-2`
    /// (`10.0.1.12`) serve.
    pub fn with_web(test_name: &str) -> Result<(Self, [Backend; 2])> {
        let market = Self::open(test_name, true)?;
        let backends = [
            market.backend("web-1", "web", 11)?,
            market.backend("web-2", "web", 12)?,
        ];
        market.apply(&service("web", 10))?;
        Ok((market, backends))
    }

    /// A node with the client and the service `web`, number 10, that the pod `web` (`10.0.1.11`) serves.
    pub fn with_one_web(test_name: &str) -> Result<(Self, Backend)> {
        let market = Self::open(test_name, true)?;
        let backend = market.backend("web", "web", 11)?;
        market.apply(&service("web", 10))?;
        Ok((market, backend))
    }

    /// A pod in which the services' addresses are known to lead nowhere, so that a connection that is not
    /// translated fails at once: [`io::ErrorKind::HostUnreachable`].
    pub fn pod(&self, name: &str, ips: &[&str]) -> Result<Pod> {
        pod_of(&self.sandbox, name, ips)
    }

    /// Creates or replaces an object.
    pub fn apply(&self, object: &Manifest) -> Result<()> {
        self.sandbox.manifests().apply(object)
    }

    /// Deletes an object.
    pub fn delete(&self, object: &Manifest) -> Result<()> {
        self.sandbox.manifests().delete(object)
    }

    /// A pod at `10.0.1.host` that serves the app, with its manifest.
    pub fn backend(&self, name: &str, app: &str, host: u8) -> Result<Backend> {
        let backend = self.unlisted(name, host)?;
        self.apply(&pod(&backend.pod, app))?;
        Ok(backend)
    }

    /// As [`Self::backend`], without its manifest.
    pub fn unlisted(&self, name: &str, host: u8) -> Result<Backend> {
        let pod = self.pod(name, &[&format!("10.0.1.{host}"), &format!("fd00::1:{host}")])?;
        let tcp = pod.serve_tcp("[::]:8080".parse()?, name)?;
        let udp = pod.serve_udp("[::]:5353".parse()?, name)?;
        Ok(Backend { pod, tcp, udp })
    }

    /// Who answers when the client asks a service.
    pub fn ask(&self, service: u8) -> io::Result<String> {
        ask(&self.client, service)
    }

    /// The [`pins`]; fails unless each hook of the cgroup has exactly one program.
    pub fn installed(&self) -> Result<BTreeMap<PathBuf, u32>> {
        attached(self.sandbox.cgroup(), 1)?;
        pins(&self.sandbox)
    }
}

/// Waits until each hook of the cgroup itself has that many programs: the kernel detaches those of a link
/// that is gone a moment later.
pub fn attached(cgroup: &Path, count: usize) -> Result<()> {
    for hook in kernel::HOOKS {
        let mut programs = Vec::new();
        let found = until(Duration::from_secs(2), || {
            programs = kernel::attached(cgroup, hook).unwrap_or_default();
            programs.len() == count
        });
        ensure!(
            found,
            "programs of hook {hook} in {}: {programs:?}",
            cgroup.display()
        );
    }
    Ok(())
}

/// Without that route the node's answer comes while `connect()` holds the socket, and counts only a second
/// later, with the second SYN.
fn pod_of(sandbox: &Sandbox, name: &str, ips: &[&str]) -> Result<Pod> {
    let pod = sandbox.pod(name, ips)?;
    let route = ["route", "add", "unreachable", "10.96.0.0/12"];
    let output = pod.command("ip").args(route).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(pod)
}

/// The pinned maps and links of a sandbox with their ids; those of iterators, which are made anew with each
/// agent, with id 0. Fails where a pin is a draft of another.
pub fn pins(sandbox: &Sandbox) -> Result<BTreeMap<PathBuf, u32>> {
    let mut ids = BTreeMap::new();
    for pin in sandbox.census()?.pins {
        let name = pin.strip_prefix(sandbox.bpffs())?.to_owned();
        ensure!(
            !name.display().to_string().ends_with("new"),
            "{} is a draft",
            name.display()
        );
        let id = if is_map(&name) {
            kernel::map(&pin)?.id
        } else {
            let link = kernel::link(&pin)?;
            link.cgroup.map_or(0, |_| link.id)
        };
        ids.insert(name, id);
    }
    Ok(ids)
}

/// Whether a pin is that of a map.
#[must_use]
pub fn is_map(pin: &Path) -> bool {
    pin.components().any(|part| part.as_os_str() == "maps")
}

/// Who answers when a pod asks a service.
pub fn ask(pod: &Pod, service: u8) -> io::Result<String> {
    pod.run(|| ask_tcp(address(service, 80)).map(|answer| answer.name))
}

/// The Pod of a backend.
#[must_use]
pub fn pod(pod: &Pod, app: &str) -> Manifest {
    manifest::pod("shop", pod.name(), &[("app", app)], pod.ips())
}

/// The Service of that name and number, TCP and UDP.
#[must_use]
pub fn service(name: &str, number: u8) -> Manifest {
    let ports = [
        Port::tcp(80).to(8080).named("tcp"),
        Port::udp(53).to(5353).named("udp"),
    ];
    manifest::service("shop", name, &[vip(number)], &ports, &[("app", name)])
}

/// A Service, TCP only, that pods of some app serve.
#[must_use]
pub fn service_of(app: &str, name: &str, number: u8) -> Manifest {
    let ports = [Port::tcp(80).to(8080)];
    manifest::service("shop", name, &[vip(number)], &ports, &[("app", app)])
}

/// Address of the service of that number.
#[must_use]
pub fn vip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 96, 0, number).into()
}

/// Address and port of the service of that number.
#[must_use]
pub fn address(number: u8, port: u16) -> SocketAddr {
    (vip(number), port).into()
}

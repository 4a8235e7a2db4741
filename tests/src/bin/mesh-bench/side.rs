//! A node for each way to be measured: a client's pod and a server's, on a bridge, alike but for what is compared.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::manifest::{self, Port};
use harness::metrics;
use harness::twins::wait_probed;
use harness::{Agent, Pod, Sandbox, until};
use mesh_common::names::acceleration;
use serde_json::Value;

use crate::crew::Crew;
use crate::workload::Workload;
use crate::{client, dnat, policy, processor};

/// Address of the node on the bridge.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Address of the client's pod.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
/// Address of the server's pod.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
/// Address of the service.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

const SOON: Duration = Duration::from_secs(5);

/// What there is of the mesh on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// All of it.
    Whole,
    /// All but the packet programs.
    NoPackets,
    /// All but what reads the kernel's memory: the list of connections and acceleration.
    NoReads,
}

/// A node with its workers.
#[derive(Debug)]
pub struct Side {
    /// The workers.
    pub crew: Crew,
    /// The agent, where the mesh is.
    agent: Option<Agent>,
    /// The client's pod.
    pub client: Pod,
    /// The server's pod.
    pub server: Pod,
    /// Last: all others live in it.
    pub sandbox: Sandbox,
}

impl Side {
    /// Two pods on a bridge and nothing else: no program of the mesh sees their sockets or packets.
    pub fn plain() -> Result<Self> {
        Self::build("plain")
    }

    /// The same, and a service as kube-proxy makes it with nftables.
    pub fn dnat() -> Result<Self> {
        let side = Self::build("dnat")?;
        dnat::install(&side)?;
        Ok(side)
    }

    /// The same, and the mesh.
    pub fn mesh(mesh: Mesh) -> Result<Self> {
        let mut side = Self::build(match mesh {
            Mesh::Whole => "mesh",
            Mesh::NoPackets => "no-packets",
            Mesh::NoReads => "no-reads",
        })?;
        side.describe_pods()?;
        side.start_agent(mesh)?;
        Ok(side)
    }

    /// The mesh, and both pods ask for acceleration.
    pub fn accelerated() -> Result<Self> {
        let mut side = Self::build("accelerated")?;
        side.describe_pods()?;
        let namespace = manifest::namespace("shop", true);
        let namespace = namespace.annotation(acceleration::ANNOTATION, acceleration::SOCKET);
        side.sandbox.manifests().apply(&namespace)?;
        side.start_agent(Mesh::Whole)?;
        for address in [SERVER, SERVICE] {
            side.ensure_redirects(address)?;
        }
        Ok(side)
    }

    /// The mesh, and policies that isolate both pods both ways and let pass what is measured. Fifty more are of no
    /// concern to it, and select both pods as well.
    pub fn policed() -> Result<Self> {
        let mut side = Self::build("policed")?;
        side.describe_pods()?;
        for policy in policy::all() {
            side.sandbox.manifests().apply(&policy)?;
        }
        side.start_agent(Mesh::Whole)?;
        let allowed = side
            .client
            .run(|| TcpStream::connect((SERVICE, Workload::Requests.port())));
        allowed.context("the policies let nothing pass")?;
        let denied = side.client.run(|| TcpStream::connect((NODE, policy::FORBIDDEN)));
        let denied = denied.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        ensure!(denied && side.denials()? > 0, "the policies are not in force");
        Ok(side)
    }

    /// What was denied so far.
    fn denials(&self) -> Result<u64> {
        let text = self.agent.as_ref().context("no agent")?.metrics()?;
        Ok(metrics::sum(
            &text,
            "mesh_verdicts_total",
            &[("verdict", "denied")],
        ))
    }

    /// With the service.
    fn start_agent(&mut self, mesh: Mesh) -> Result<()> {
        // What is missing are the kernel's types; without CAP_PERFMON connections could not be listed, either.
        const HIDE_TYPES: &str = "mount --bind /dev/null /sys/kernel/btf/vmlinux && exec \"$@\"";
        let side = self;
        let ports = Workload::ALL.map(|workload| {
            let port = workload.port();
            Port::tcp(port).named(&workload.to_string())
        });
        let service = manifest::service("shop", "server", &[SERVICE.into()], &ports, &[("app", "server")]);
        side.sandbox.manifests().apply(&service)?;
        let agent = side.sandbox.agent();
        let agent = match mesh {
            Mesh::Whole => agent,
            Mesh::NoPackets => agent.arg("--packets").arg("off"),
            Mesh::NoReads => agent.under(&["unshare", "--mount", "sh", "-c", HIDE_TYPES, "sh"]),
        };
        side.agent = Some(agent.start()?);
        let packets = mesh != Mesh::NoPackets;
        let as_wanted = until(SOON, || {
            side.counts_packets().is_ok_and(|counted| counted == packets)
        });
        ensure!(
            as_wanted,
            "the packet programs are not as they should be: wanted {packets}"
        );
        wait_probed(&side.sandbox)?;
        let (status, text) = side.acceleration()?;
        let possible = status["own"]["enabled"].as_bool();
        ensure!(
            possible == Some(mesh != Mesh::NoReads),
            "acceleration is not as it should be on a node with {mesh:?}: {text}"
        );
        Ok(())
    }

    /// What `meshctl` says of acceleration, read and as it is.
    fn acceleration(&self) -> Result<(Value, String)> {
        let status = self.sandbox.meshctl(["accel", "status", "-o", "json"])?;
        let answer = String::from_utf8_lossy(&status.stdout).into_owned();
        let parsed = serde_json::from_str(&answer)
            .with_context(|| format!("{answer}{}", String::from_utf8_lossy(&status.stderr)))?;
        Ok((parsed, answer))
    }

    /// What is measured as accelerated must be: all but the first messages of requests go past TCP.
    fn ensure_redirects(&self, address: Ipv4Addr) -> Result<()> {
        const EXCHANGES: u64 = 100;
        let target = (address, Workload::Requests.port());
        let mut stream = [self.client.run(|| TcpStream::connect(target))?];
        for _ in 0..EXCHANGES {
            client::exchange(&mut stream, &mut vec![0; Workload::Requests.bytes()])?;
        }
        let (status, answer) = self.acceleration()?;
        let redirected = status["connections"]["redirectedMessages"]
            .as_u64()
            .unwrap_or_default();
        ensure!(
            redirected >= EXCHANGES,
            "accelerated, but {redirected} of {} messages to {address} are redirected: {answer}",
            2 * EXCHANGES
        );
        Ok(())
    }

    /// The pods and their workers.
    pub fn build(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        dnat::without_rules(&sandbox.node())?;
        let client = sandbox.pod("client", &[&CLIENT.to_string()])?;
        let server = sandbox.pod("server", &[&SERVER.to_string()])?;
        let ground = ground(&sandbox)?;
        Ok(Self {
            crew: Crew::start(client.place(), server.place(), &ground)?,
            agent: None,
            client,
            server,
            sandbox,
        })
    }

    /// Writes the manifests of the namespace and the pods, all in the mesh.
    pub fn describe_pods(&self) -> Result<()> {
        let manifests = self.sandbox.manifests();
        manifests.apply(&manifest::namespace("shop", true))?;
        for pod in [&self.client, &self.server] {
            manifests.apply(&manifest::pod_of("shop", pod, &[("app", pod.name())]))?;
        }
        Ok(())
    }

    fn counts_packets(&self) -> Result<bool> {
        let pins = self.sandbox.census()?.pins;
        Ok(pins
            .iter()
            .any(|pin| pin.to_string_lossy().contains("mesh_to_pod_")))
    }

    /// Microseconds of a processor that the agent used so far.
    pub fn agent_used(&self) -> Result<Option<f64>> {
        let used = |agent: &Agent| processor::used_by(agent.program().pid());
        let used = self.agent.as_ref().map(used).transpose()?;
        Ok(used.map(|used| used.as_secs_f64() * 1e6))
    }
}

/// The directory of everything in a sandbox.
fn ground(sandbox: &Sandbox) -> Result<PathBuf> {
    let bpffs = sandbox.bpffs();
    Ok(bpffs
        .parent()
        .context("a sandbox without a directory")?
        .to_owned())
}

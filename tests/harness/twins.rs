//! Two pods of one node, on plain TCP or accelerated: the same test runs on both, the first is the control.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_common::names::acceleration;

use crate::agent::Agent;
use crate::manifest::{self, Manifest};
use crate::pod::Pod;
use crate::sandbox::Sandbox;
use crate::wait::until;

/// The namespace of both pods.
pub const NAMESPACE: &str = "twins";

/// What the namespace asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Path {
    /// Plain TCP.
    Tcp,
    /// The guarded redirect.
    Redirect,
}

impl Path {
    /// The control first.
    pub const BOTH: [Self; 2] = [Self::Tcp, Self::Redirect];

    /// The value of the annotation.
    #[must_use]
    pub const fn annotation(self) -> &'static str {
        match self {
            Self::Tcp => acceleration::OFF,
            Self::Redirect => acceleration::SOCKET,
        }
    }
}

/// The pods, the agent, and the node they are on.
#[derive(Debug)]
pub struct Twins {
    /// `10.0.1.1`, `fd00::1:1`.
    pub client: Pod,
    /// `10.0.1.2`, `fd00::1:2`.
    pub server: Pod,
    /// The agent; the probe is done.
    pub agent: Agent,
    /// Last: all others live in it.
    pub sandbox: Sandbox,
}

impl Twins {
    /// Starts the agent and waits until it has probed the kernel.
    pub fn new(test_name: &str, path: Path) -> Result<Self> {
        Self::with_args(test_name, path, &[])
    }

    /// As [`Self::new`], with more arguments for the agent.
    pub fn with_args(test_name: &str, path: Path, args: &[&str]) -> Result<Self> {
        let sandbox = Sandbox::new(test_name)?;
        let client = sandbox.pod("client", &["10.0.1.1", "fd00::1:1"])?;
        let server = sandbox.pod("server", &["10.0.1.2", "fd00::1:2"])?;
        let manifests = sandbox.manifests();
        manifests.apply(&namespace(path))?;
        manifests.apply(&manifest::pod_of(NAMESPACE, &client, &[]))?;
        manifests.apply(&manifest::pod_of(NAMESPACE, &server, &[("app", "server")]))?;
        let agent = args
            .iter()
            .fold(sandbox.agent(), crate::AgentBuilder::arg)
            .start()?;
        wait_probed(&sandbox)?;
        Ok(Self {
            client,
            server,
            agent,
            sandbox,
        })
    }

    /// A listener in the server's pod.
    pub fn listen(&self) -> Result<TcpListener> {
        let any = SocketAddr::new(self.server.v4(), 0);
        Ok(self.server.run(|| TcpListener::bind(any))?)
    }

    /// A connection: the client's end and the server's.
    pub fn connect(&self) -> Result<(TcpStream, TcpStream)> {
        let listener = self.listen()?;
        let to = listener.local_addr()?;
        let near = self.client.run(|| dial(to))?;
        let (far, _) = listener.accept()?;
        far.set_nodelay(true)?;
        Ok((near, far))
    }
}

/// The namespace, asking for a path.
#[must_use]
pub fn namespace(path: Path) -> Manifest {
    manifest::namespace(NAMESPACE, true).annotation(acceleration::ANNOTATION, path.annotation())
}

/// Waits until the agent has probed the kernel: sockets made from now on may be enrolled.
pub fn wait_probed(sandbox: &Sandbox) -> Result<()> {
    let report = sandbox.run_dir().join("acceleration.json");
    ensure!(
        until(Duration::from_secs(20), || report.exists()),
        "the agent has not probed the kernel"
    );
    Ok(())
}

fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

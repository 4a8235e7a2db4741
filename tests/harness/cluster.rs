//! A scene for tests of the agent in a cluster: an API server, a client, and services it asks.
//!
//! All is in the namespace `shop`. Service number `n` has the address `10.96.0.n`, port 80.

use std::io;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::apiserver::ApiServer;
use crate::manifest::{self, Endpoint, Manifest, Port};
use crate::traffic::TcpServer;
use crate::{Agent, AgentBuilder, Pod, Sandbox, agent, market, sandbox};

/// What the agent follows.
pub const RESOURCES: [&str; 6] = [
    "namespaces",
    "nodes",
    "pods",
    "services",
    "endpointslices",
    "networkpolicies",
];

/// A node of a cluster, with the API server on it.
#[derive(Debug)]
pub struct Cluster {
    /// The server.
    pub server: ApiServer,
    /// A pod, `10.0.1.1`.
    pub client: Pod,
    /// Last: all others live in it.
    pub sandbox: Sandbox,
}

/// A pod that serves.
#[derive(Debug)]
pub struct Backend {
    /// The pod.
    pub pod: Pod,
    _server: TcpServer,
}

impl Cluster {
    /// A cluster with this node, the namespace in the mesh, and the client.
    pub fn open(test_name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(test_name)?;
        // A subdirectory of the manifests, which nobody reads.
        let dir = sandbox.manifests().dir().join("apiserver");
        // An address that agents with a network namespace of their own reach, too.
        let listen = format!("{}:0", sandbox::GATEWAYS[0]).parse()?;
        let server = sandbox
            .node()
            .run(|| ApiServer::builder(dir).listen(listen).start())?;
        let client = sandbox.pod("client", &["10.0.1.1"])?;
        let route = ["route", "add", "unreachable", "10.96.0.0/12"];
        let output = client.command("ip").args(route).output()?;
        ensure!(output.status.success(), "{output:?}");
        let cluster = Self {
            server,
            client,
            sandbox,
        };
        cluster.put(&manifest::node(agent::NODE_NAME, "zone-a"))?;
        cluster.put(&manifest::namespace("shop", true))?;
        cluster.put(&manifest::pod("shop", "client", &[], cluster.client.ips()))?;
        Ok(cluster)
    }

    /// The agent of this node, not yet started, which follows the server.
    #[must_use]
    pub fn agent(&self) -> AgentBuilder<'_> {
        let kubeconfig = self.server.file("kubeconfig");
        let builder = self.sandbox.agent().arg("--kubeconfig").arg(kubeconfig);
        builder.arg("--start-jitter").arg("0")
    }

    /// Creates or replaces an object; gives its version.
    pub fn put(&self, object: &Manifest) -> Result<u64> {
        self.server.put(&object.tree())
    }

    /// A pod at `10.0.1.host` that serves, with its Pod.
    pub fn backend(&self, name: &str, host: u8) -> Result<Backend> {
        let pod = self.sandbox.pod(name, &[&format!("10.0.1.{host}")])?;
        let server = pod.serve_tcp("[::]:8080".parse()?, name)?;
        self.put(&manifest::pod("shop", name, &[("app", name)], pod.ips()))?;
        Ok(Backend { pod, _server: server })
    }

    /// Creates or replaces the Service of that name and number, and its endpoints.
    pub fn sell(&self, name: &str, number: u8, backends: &[&Backend]) -> Result<()> {
        self.staff(name, backends)?;
        let ip: IpAddr = market::vip(number);
        let selector = [("app", name)];
        self.put(&manifest::service(
            "shop",
            name,
            &[ip],
            &[Port::tcp(80).to(8080)],
            &selector,
        ))?;
        Ok(())
    }

    /// Creates or replaces the endpoints of a service, all of them ready.
    pub fn staff(&self, service: &str, backends: &[&Backend]) -> Result<()> {
        let of = |backend: &&Backend| Endpoint::ready(backend.pod.v4()).of("shop", backend.pod.name());
        let endpoints: Vec<_> = backends.iter().map(of).collect();
        let name = format!("{service}-abcde");
        let ports = [Port::tcp(80).to(8080)];
        self.put(&manifest::endpoint_slice(
            "shop", service, &name, &ports, &endpoints,
        ))?;
        Ok(())
    }

    /// Who answers when the client asks a service.
    pub fn ask(&self, service: u8) -> io::Result<String> {
        market::ask(&self.client, service)
    }

    /// How often each resource was listed.
    #[must_use]
    pub fn lists(&self) -> [usize; RESOURCES.len()] {
        RESOURCES.map(|resource| self.server.count("list", resource))
    }

    /// The agent's own words about itself.
    pub fn status(&self) -> Result<Value> {
        let answer = self.sandbox.admin("/v1/status")?;
        serde_json::from_str(&answer.body).with_context(|| answer.body.clone())
    }

    /// What `meshctl` prints; an error where it fails.
    pub fn meshctl(&self, line: &str) -> Result<String> {
        let output = self.sandbox.meshctl(line.split(' '))?;
        ensure!(output.status.success(), "{line}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Whether the kernel holds what it should.
    pub fn agrees(&self) -> Result<()> {
        self.meshctl("diff").map(drop)
    }
}

/// The value of a metric, without labels or with exactly these.
pub fn metric(agent: &Agent, series: &str) -> Result<f64> {
    let text = agent.metrics()?;
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let (_, value) = lines
        .find(|(name, _)| *name == series)
        .with_context(|| format!("no {series} in {text}"))?;
    Ok(value.parse()?)
}

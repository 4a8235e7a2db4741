//! A node of its own for one test.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};

use crate::agent::AgentBuilder;
use crate::binary::{self, Binary};
use crate::census::{Census, Witness};
use crate::cgroup::Cgroup;
use crate::http::{self, Response};
use crate::launch::Launch;
use crate::lock::lock;
use crate::manifests::Manifests;
use crate::netns::Netns;
use crate::node::Node;
use crate::place::Place;
use crate::pod::Pod;
use crate::process::Process;
use crate::{janitor, mounts};

/// Addresses of the bridge unless told otherwise.
pub const GATEWAYS: [&str; 2] = ["10.0.0.1", "fd00::1"];

/// A node: network, cgroup, BPF filesystem and directories, removed with all that is in them on drop.
#[derive(Debug)]
pub struct Sandbox {
    /// Stands in the node's network and the sandbox's cgroup, like a pod on the host's network.
    host: Place,
    node: Node,
    pods: Mutex<BTreeMap<String, Pod>>,
    cgroup: Arc<Cgroup>,
    /// Last: all others keep things in it.
    ground: Ground,
}

impl Sandbox {
    /// A node whose bridge has the addresses `10.0.0.1/16` and `fd00::1/64`.
    pub fn new(test_name: &str) -> Result<Self> {
        Self::with_gateways(test_name, &GATEWAYS)
    }

    /// A node whose bridge has these addresses (IPv4 `/16`, IPv6 `/64`).
    pub fn with_gateways(test_name: &str, gateways: &[&str]) -> Result<Self> {
        let gateways = parse(gateways)?;
        let process = Process::get()?;
        let number = process.next_sandbox();
        let run = Path::new(janitor::RUN).join(format!("{}-{number}", janitor::owned_by(std::process::id())));
        let ground = Ground::prepare(run)?;
        let run = &ground.0;
        let cgroup = Cgroup::threaded(process.cgroup(), &format!("{number}-{}", plain(test_name)))?;
        let cgroup = Arc::new(cgroup);
        let netns = Arc::new(Netns::create(&run.join("netns"), "node")?);
        let node = Node::build(Arc::clone(&netns), &gateways)?;
        let host = Place::new("node", netns, Arc::clone(&cgroup), run);
        Ok(Self {
            host,
            node,
            pods: Mutex::default(),
            cgroup,
            ground,
        })
    }

    /// Puts a pod on the bridge: `eth0` with these addresses, default routes by the bridge.
    pub fn pod(&self, name: &str, ips: &[&str]) -> Result<Pod> {
        let ips = parse(ips)?;
        let mut pods = lock(&self.pods);
        if name == "node" || pods.get(name).is_some_and(|pod| !pod.is_deleted()) {
            bail!("there is a pod {name} already");
        }
        let netns = Arc::new(Netns::create(&self.netns_dir(), name)?);
        let cgroup = Arc::new(Cgroup::threaded(self.cgroup(), name)?);
        let place = Place::new(name, Arc::clone(&netns), cgroup, &self.ground.0);
        let pod = Pod::create(place, &netns, self.node.clone(), &ips)?;
        pods.insert(name.into(), pod.clone());
        Ok(pod)
    }

    /// The node's own network, out of the mesh's cgroup: where the agent and the kubelet stand.
    #[must_use]
    pub fn node(&self) -> Place {
        self.host.unenrolled()
    }

    /// The node's own network in the mesh's cgroup: where a pod with `hostNetwork` stands.
    #[must_use]
    pub fn outside_pod(&self) -> &Place {
        &self.host
    }

    /// A container: in the network namespace of a place, and in a cgroup below the mesh's, which is made with all above it
    /// as a kubelet does, and removed with the last handle.
    pub fn container(&self, of: &Place, cgroup: &str) -> Result<Place> {
        let (above, name) = cgroup.rsplit_once('/').unwrap_or(("", cgroup));
        let parent = Cgroup::threaded_path(self.cgroup(), above)?;
        Ok(of.in_cgroup(Cgroup::threaded(&parent, name)?))
    }

    /// The agent of this node, not yet started.
    #[must_use]
    pub fn agent(&self) -> AgentBuilder<'_> {
        AgentBuilder::new(self)
    }

    /// Runs `meshctl` on the node, with the flags that tell it where the agent keeps things.
    pub fn meshctl<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        self.meshctl_in(&self.node())?.args(args).output()
    }

    /// As [`Self::meshctl`], not yet started, in any place.
    pub fn meshctl_in(&self, place: &Place) -> Result<Launch> {
        Ok(self.told(place.command(binary::find(Binary::Meshctl)?)))
    }

    /// Runs `mesh-agent cleanup` on the node.
    pub fn cleanup(&self) -> Result<Output> {
        self.cleanup_in(&self.node())?.output()
    }

    /// As [`Self::cleanup`], not yet started, in any place.
    pub fn cleanup_in(&self, place: &Place) -> Result<Launch> {
        Ok(self.told(place.command(binary::find(Binary::Agent)?).arg("cleanup")))
    }

    fn told(&self, launch: Launch) -> Launch {
        let launch = launch.arg("--bpffs").arg(self.bpffs());
        launch.arg("--run-dir").arg(self.run_dir())
    }

    /// GET from the agent's admin socket.
    pub fn admin(&self, path: &str) -> std::io::Result<Response> {
        http::get_unix(&self.run_dir().join("admin.sock"), path)
    }

    /// The objects that the agent is to see.
    #[must_use]
    pub fn manifests(&self) -> Manifests {
        Manifests::new(self.ground.0.join("manifests"))
    }

    /// The mesh's cgroup, parent of the pods'.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Mount point of the sandbox's BPF filesystem.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.ground.0.join("bpf")
    }

    /// The agent's run directory.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.ground.0.join("agent")
    }

    /// Directory of the handles of network namespaces.
    #[must_use]
    pub fn netns_dir(&self) -> PathBuf {
        self.ground.0.join("netns")
    }

    /// Counts what there is of this sandbox now.
    pub fn census(&self) -> Result<Census> {
        self.witness().census()
    }

    /// Can take the census even after the sandbox is gone.
    #[must_use]
    pub fn witness(&self) -> Witness {
        Witness::new(&self.ground.0, self.cgroup())
    }

    fn demolish(&self) -> Result<()> {
        self.host.tenants().stop();
        let pods = std::mem::take(&mut *lock(&self.pods));
        let pods = pods.values().map(Pod::demolish).fold(Ok(()), Result::and);
        pods.and(self.host.demolish())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        match self.demolish() {
            Err(error) if std::thread::panicking() => eprintln!("sandbox not removed: {error:#}"),
            Err(error) => panic!("sandbox not removed: {error:#}"),
            Ok(()) => {}
        }
    }
}

/// The run directory with all mounts in it.
#[derive(Debug)]
struct Ground(PathBuf);

impl Ground {
    fn prepare(run: PathBuf) -> Result<Self> {
        mounts::mount_private("tmpfs", &run)?;
        let ground = Self(run);
        for dir in ["netns", "manifests", "agent", "logs"] {
            fs::create_dir(ground.0.join(dir)).with_context(|| format!("creating {dir}"))?;
        }
        mounts::mount_private("bpf", &ground.0.join("bpf"))?;
        Ok(ground)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = mounts::detach(&self.0) {
            eprintln!("{error:#}");
        }
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("removing {}: {error}", self.0.display());
        }
    }
}

fn parse(ips: &[&str]) -> Result<Vec<IpAddr>> {
    ips.iter()
        .map(|ip| ip.parse().with_context(|| format!("{ip} is no address")))
        .collect()
}

/// A name that fits into a path.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.chars().map(plain).take(64).collect()
}

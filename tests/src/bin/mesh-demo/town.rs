//! The node of the demonstration: its pods, what runs in them, and the agent.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use harness::{Agent, Place, Pod, Program, Sandbox, eventually};

use crate::dns::NameServer;
use crate::narrator::Narrator;
use crate::terminal::{Terminal, path_with};

/// Where the redis listens that is compared with: the same pod, out of the mesh.
pub const PLAIN_REDIS: u16 = 6380;
/// Where the redis of the mesh listens.
pub const REDIS: u16 = 6379;
const HTTP: u16 = 8080;

const NGINX: &str = include_str!("nginx.conf");
const MANIFESTS: [(&str, &str); 5] = [
    ("cache.yaml", include_str!("manifests/cache.yaml")),
    ("dns.yaml", include_str!("manifests/dns.yaml")),
    ("namespaces.yaml", include_str!("manifests/namespaces.yaml")),
    ("pods.yaml", include_str!("manifests/pods.yaml")),
    ("web.yaml", include_str!("manifests/web.yaml")),
];
/// Name and last number of both addresses, as in `pods.yaml`.
const PODS: [(&str, u8); 6] = [
    ("client-1", 1),
    ("client-2", 2),
    ("web-1", 11),
    ("web-2", 12),
    ("cache-1", 21),
    ("dns-1", 31),
];
const SOON: Duration = Duration::from_secs(5);

/// Everything there is; gone when dropped.
pub struct Town {
    agent: Option<Agent>,
    _dns: NameServer,
    _servers: Vec<Program>,
    pods: Vec<Pod>,
    env: Vec<(&'static str, OsString)>,
    /// Last: all others live in it.
    pub sandbox: Sandbox,
}

impl Town {
    /// Makes the pods, starts the servers and writes the manifests.
    pub fn build(narrator: &mut Narrator) -> Result<Self> {
        narrator.step("Pods: network namespaces with a veth pair each, on the bridge of a node")?;
        let sandbox = Sandbox::new("demo")?;
        let ground = ground(&sandbox);
        let pods = PODS
            .iter()
            .map(|(name, number)| {
                let ips = [format!("10.0.1.{number}"), format!("fd00::1:{number}")];
                sandbox.pod(name, &ips.each_ref().map(String::as_str))
            })
            .collect::<Result<Vec<_>>>()?;
        let [_, _, web_1, web_2, cache, dns] = pods.as_slice() else {
            return Err(anyhow!("pods are missing"));
        };
        let mut servers = Vec::new();
        for pod in [web_1, web_2] {
            servers.push(start_nginx(pod, &ground)?);
        }
        servers.push(start_redis(cache.place(), REDIS, &ground)?);
        servers.push(start_redis(&cache.unenrolled(), PLAIN_REDIS, &ground)?);
        let name_server = NameServer::start(dns).context("starting the name server")?;
        for (pod, port) in [(web_1, HTTP), (web_2, HTTP), (cache, REDIS), (cache, PLAIN_REDIS)] {
            await_listener(pod, port)?;
        }
        for (name, text) in MANIFESTS {
            sandbox.manifests().write(name, text)?;
        }
        let town = Self {
            agent: None,
            _dns: name_server,
            _servers: servers,
            pods,
            env: environment(&sandbox)?,
            sandbox,
        };
        narrator.say(
            "nginx in web-1 and web-2, redis in cache-1, a name server in dns-1; none knows of the mesh",
        )?;
        let node = town.node();
        node.run("ip -brief link show type veth", narrator)?;
        town.terminal("web-1")
            .run("ip -brief addr show dev eth0", narrator)?;
        town.terminal("web-1").run("ss -Hltn", narrator)?;
        narrator.say("what Kubernetes would say of them, as files:")?;
        let directory = town.sandbox.manifests().dir().display().to_string();
        node.run(&format!("cd {directory} && wc -l *.yaml"), narrator)?;
        node.run(&format!("cat {directory}/web.yaml"), narrator)?;
        Ok(town)
    }

    /// Starts the agent and waits until it is ready.
    pub fn start_agent(&mut self, narrator: &mut Narrator) -> Result<()> {
        narrator.step("The agent: reads the manifests, loads the kernel programs, fills their tables")?;
        let begun = Instant::now();
        let agent = self.sandbox.agent().launch()?;
        narrator.command("node", &format!("{} &", command_line(agent.program().pid())?))?;
        agent.wait_ready()?;
        let took = begun.elapsed();
        narrator.say(&format!("ready after {} ms; its log:", took.as_millis()))?;
        narrator.output(&log_end(&agent.log(), 3))?;
        self.agent = Some(agent);
        Ok(())
    }

    /// The agent.
    pub fn agent(&mut self) -> Result<&mut Agent> {
        self.agent.as_mut().context("no agent was started")
    }

    /// A shell on the node, with meshctl.
    pub fn node(&self) -> Terminal {
        Terminal::open(self.sandbox.node(), &self.env)
    }

    /// A shell in a pod.
    pub fn terminal(&self, pod: &str) -> Terminal {
        Terminal::open(self.pod(pod).place().clone(), &self.env)
    }

    /// A shell in a pod's network, but out of the mesh.
    pub fn unenrolled(&self, pod: &str) -> Terminal {
        Terminal::open(self.pod(pod).unenrolled(), &self.env)
    }

    /// All pods.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn pod(&self, name: &str) -> &Pod {
        let found = self.pods.iter().find(|pod| pod.name() == name);
        found.unwrap_or_else(|| panic!("no pod {name}"))
    }

    /// The directory of everything: manifests, pins, logs.
    pub fn ground(&self) -> PathBuf {
        ground(&self.sandbox)
    }

    /// The directory of the mesh's programs.
    pub fn binaries() -> Result<PathBuf> {
        let meshctl = PathBuf::from(std::env::var_os("MESHCTL_BIN").context("MESHCTL_BIN is not set")?);
        Ok(meshctl.parent().context("MESHCTL_BIN is no file")?.to_owned())
    }
}

/// The last lines of a log.
pub fn log_end(log: &str, most: usize) -> String {
    let lines: Vec<_> = log.lines().collect();
    let shown = &lines[lines.len().saturating_sub(most)..];
    let more = lines.len() - shown.len();
    let dots = if more > 0 {
        format!("... ({more} lines before)\n")
    } else {
        String::new()
    };
    format!("{dots}{}\n", shown.join("\n"))
}

fn ground(sandbox: &Sandbox) -> PathBuf {
    let bpffs = sandbox.bpffs();
    bpffs.parent().unwrap_or(&bpffs).to_owned()
}

fn environment(sandbox: &Sandbox) -> Result<Vec<(&'static str, OsString)>> {
    Ok(vec![
        ("PATH", path_with(&Town::binaries()?)),
        ("MESH_BPFFS", sandbox.bpffs().into()),
        ("MESH_RUN_DIR", sandbox.run_dir().into()),
        ("LC_ALL", "C.UTF-8".into()),
    ])
}

fn start_nginx(pod: &Pod, ground: &Path) -> Result<Program> {
    let directory = ground.join(pod.name());
    fs::create_dir(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let path = directory.display().to_string();
    let config = NGINX.replace("@DIR@", &path).replace("@NAME@", pod.name());
    let file = directory.join("nginx.conf");
    fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
    // `-e`: or it opens the log of the machine's own nginx before it reads the file.
    let nginx = pod.command("nginx").args(["-e", "stderr", "-p"]).arg(&directory);
    nginx.arg("-c").arg(&file).start()
}

fn start_redis(place: &Place, port: u16, ground: &Path) -> Result<Program> {
    let redis = place.command("redis-server").arg("--port").arg(port.to_string());
    redis
        .args(["--bind", "0.0.0.0", "::", "--protected-mode", "no"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(ground)
        .start()
}

fn await_listener(pod: &Pod, port: u16) -> Result<()> {
    let addr = SocketAddr::new(pod.v4(), port);
    pod.run(|| eventually(SOON, || TcpStream::connect_timeout(&addr, SOON)))
        .map(drop)
        .with_context(|| format!("nobody listens on {addr} in {}", pod.name()))
}

/// As it was started, with the program's name alone.
fn command_line(pid: u32) -> Result<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).context("reading the agent's command line")?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut words: Vec<_> = text.trim_end_matches('\0').split('\0').collect();
    if let Some(first) = words.first_mut() {
        *first = first.rsplit('/').next().unwrap_or_default();
    }
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_is_in_the_manifests_with_its_addresses() {
        let (_, manifest) = MANIFESTS[3];
        for (name, number) in PODS {
            assert!(manifest.contains(&format!("name: {name}\n")), "{name}");
            assert!(manifest.contains(&format!("ip: 10.0.1.{number}\n")), "{name}");
            assert!(manifest.contains(&format!("ip: fd00::1:{number}\n")), "{name}");
        }
    }

    #[test]
    fn the_end_of_a_log_says_what_was_left_out() {
        assert_eq!(log_end("a\nb\nc\n", 2), "... (1 lines before)\nb\nc\n");
        assert_eq!(log_end("a\n", 2), "a\n");
    }
}

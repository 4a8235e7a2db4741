//! A server that only one pod may ask, that pod, one that may not, and somebody outside.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::craft::Ear;
use harness::manifest;
use harness::policies::Policies;
use harness::probe::{Attempt, Number, Outcome, Prober, Protocol, heard, once};
use harness::{Agent, Place, Pod, Sandbox, eventually, metrics, until};
use serde_json::{Value, json};
use socket2::Domain;

/// How long something may take to get through where nobody denies.
const PATIENCE: Duration = Duration::from_secs(2);
/// What did not come by then does not come.
const SILENCE: Duration = Duration::from_millis(50);
pub const SOON: Duration = Duration::from_secs(5);

/// A set of policies.
pub type Version<'a> = &'a [(&'a str, &'a Value)];
/// A way past the policies, by name; whether it got through.
pub type Way = (&'static str, fn(&Town) -> Result<bool>);

/// Ingress of the server: from the friend to port 80 of TCP and UDP only.
pub fn guard() -> Value {
    json!({"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"], "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}],
         "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}]}]})
}

/// Egress of the client: to the friend only.
pub fn confine() -> Value {
    json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}]})
}

/// The node with all of them. All serve 80 and 81, the server serves 90, too, at whatever address.
pub struct Town {
    /// By the names of their pods.
    pub probers: BTreeMap<&'static str, Prober>,
    _wide: Prober,
    pub server: Pod,
    pub friend: Pod,
    pub client: Pod,
    pub stranger: Pod,
    /// A namespace that a test made inside the client.
    pub nested: Option<Pod>,
    /// Whether nobody denies anything yet.
    is_free: AtomicBool,
    agent: Option<Agent>,
    pub policies: Policies,
    pub sandbox: Sandbox,
}

impl Town {
    /// Without an agent.
    pub fn build(test_name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(test_name)?;
        let pod = |name: &str, at: &str| {
            sandbox.pod(
                name,
                &[&format!("10.0.{at}"), &format!("fd00::{}", at.replace('.', ":"))],
            )
        };
        let (server, friend) = (pod("server", "1.1")?, pod("friend", "1.2")?);
        let (client, stranger) = (pod("client", "1.3")?, pod("stranger", "9.9")?);
        let wide = Prober::start(server.place(), &["::".parse()?], &[90])?;
        let mut probers = BTreeMap::new();
        for (name, pod) in [("server", &server), ("friend", &friend), ("client", &client)] {
            probers.insert(name, Prober::start(pod.place(), pod.ips(), &[80, 81])?);
        }
        let outside = Prober::start(&stranger.unenrolled(), stranger.ips(), &[53, 80, 81])?;
        probers.insert("stranger", outside);
        // Everybody knows his neighbours: who forges a packet could not ask for them.
        for pod in [&friend, &client, &stranger] {
            for to in at(&server, 80) {
                Self::passes(&pod.unenrolled(), Protocol::Udp, to)?;
            }
        }
        let manifests = sandbox.manifests();
        manifests.apply(&manifest::namespace("shop", true))?;
        for pod in [&server, &friend, &client] {
            manifests.apply(&manifest::pod_of("shop", pod, &[("app", pod.name())]))?;
        }
        Ok(Self {
            probers,
            _wide: wide,
            server,
            friend,
            client,
            stranger,
            nested: None,
            is_free: AtomicBool::new(true),
            agent: None,
            policies: Policies::default(),
            sandbox,
        })
    }

    /// With an agent and policies in force.
    pub fn guarded(test_name: &str, policies: Version<'_>) -> Result<Self> {
        let mut town = Self::build(test_name)?;
        town.start()?;
        town.enforce(policies)?;
        Ok(town)
    }

    pub fn start(&mut self) -> Result<()> {
        self.agent = Some(self.sandbox.agent().start()?);
        Ok(())
    }

    pub fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("no agent was started")
    }

    pub fn enforce(&self, policies: Version<'_>) -> Result<()> {
        self.policies.switch(&self.sandbox, policies)?;
        self.is_free.store(policies.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// How many were denied so far, and how many open connections were closed since they are by now.
    pub fn denials(&self) -> Result<u64> {
        let text = self.agent()?.metrics()?;
        let denied = metrics::sum(&text, "mesh_verdicts_total", &[("verdict", "denied")]);
        let closed = metrics::sum(&text, "mesh_sockets_destroyed_total", &[("reason", "denied")]);
        Ok(denied + closed)
    }

    /// Does something that must be counted as a denial.
    pub fn counted<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.denials()?;
        let result = work()?;
        eventually(SOON, || {
            let now = self.denials()?;
            ensure!(now > before, "no denial was counted: {now}");
            Ok(())
        })?;
        Ok(result)
    }

    /// Every way gets through without an agent; with one, and these policies, none does, and each is counted.
    pub fn closes(mut self, versions: &[Version<'_>], ways: &[Way]) -> Result<()> {
        let mut wrong = Vec::new();
        for (name, way) in ways {
            match way(&self) {
                Ok(true) => {}
                other => wrong.push(format!(
                    "{name}: does not get through where nobody denies: {other:?}"
                )),
            }
        }
        self.start()?;
        for (round, version) in versions.iter().enumerate() {
            self.enforce(version)?;
            for (name, way) in ways {
                let result = self.counted(|| {
                    ensure!(!way(&self)?, "it got through");
                    Ok(())
                });
                wrong.extend(
                    result
                        .err()
                        .map(|error| format!("{name}, policies {round}: {error:#}")),
                );
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    /// What becomes of an attempt from a place.
    pub fn attempt(&self, from: &Place, protocol: Protocol, to: SocketAddr) -> Outcome {
        let hopeful = self.is_free.load(Ordering::Relaxed);
        from.run(|| {
            once(Attempt {
                protocol,
                to,
                hopeful,
            })
        })
    }

    /// Whether an attempt is answered: what is expected to pass under policies, too.
    pub fn passes(from: &Place, protocol: Protocol, to: SocketAddr) -> Result<()> {
        let outcome = from.run(|| {
            once(Attempt {
                protocol,
                to,
                hopeful: true,
            })
        });
        ensure!(
            outcome == Outcome::Answered,
            "{} to {to} by {}: {outcome}",
            from.name(),
            protocol.name()
        );
        Ok(())
    }

    /// Whether a number gets through to a server.
    pub fn hears(&self, number: Number) -> bool {
        until(self.limit(), || heard(number))
    }

    /// How long to wait for what may come.
    pub fn limit(&self) -> Duration {
        if self.is_free.load(Ordering::Relaxed) {
            PATIENCE
        } else {
            SILENCE
        }
    }
}

/// Whether a server heard of an attempt.
pub fn got_through(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered | Outcome::Heard)
}

/// The addresses of a pod with a port.
pub fn at(pod: &Pod, port: u16) -> [SocketAddr; 2] {
    [pod.v4(), pod.v6()].map(|ip| SocketAddr::new(ip, port))
}

/// Listens in a pod for packets that carry a number.
pub fn ear(pod: &Pod, ip: IpAddr, protocol: u8) -> Result<Ear> {
    let domain = Domain::for_address(SocketAddr::new(ip, 0));
    Ear::open(pod.place(), domain, protocol).context("a raw socket")
}

/// Runs a program to its good end.
pub fn run(place: &Place, line: &str) -> Result<String> {
    let mut words = line.split(' ');
    let program = words.next().context("no program")?;
    let output = place.command(program).args(words).output()?;
    ensure!(output.status.success(), "{line}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Loads rules of netfilter in a place.
pub fn nft(place: &Place, dir: &Path, rules: &str) -> Result<()> {
    let file = dir.join(format!("{}.nft", place.name()));
    std::fs::write(&file, rules)?;
    run(place, &format!("nft -f {}", file.display())).map(drop)
}

/// The hardware address of a pod's interface.
pub fn station(pod: &Pod) -> Result<[u8; 6]> {
    let text = run(&pod.unenrolled(), "ip -o link show eth0")?;
    let after = text.split("link/ether ").nth(1).context("no link/ether")?;
    let bytes = after.split(' ').next().unwrap_or_default().split(':');
    let bytes: Vec<u8> = bytes
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("six bytes")
}

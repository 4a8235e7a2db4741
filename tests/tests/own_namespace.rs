//! The agent in a network namespace of its own, as in a pod without `hostNetwork`: with the privileges that the
//! manifests give it, it works at the interfaces of the host.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{Agent, AgentBuilder, Market, Pod, eventually, market, require, shipped, until};

const SOON: Duration = Duration::from_secs(3);

/// A client and the pod `web` at `10.0.1.11` on the node's bridge, and a pod for the agent at `10.0.1.99`.
struct Scene {
    _web: market::Backend,
    agents: Pod,
    market: Market,
}

impl Scene {
    fn open(test_name: &str) -> Result<Self> {
        let (market, web) = Market::with_one_web(test_name)?;
        let agents = market.sandbox.pod("agent", &["10.0.1.99"])?;
        Ok(Self {
            _web: web,
            agents,
            market,
        })
    }

    /// The host's network namespace.
    fn host(&self) -> PathBuf {
        self.market.sandbox.netns_dir().join("node")
    }

    fn builder(&self) -> Result<AgentBuilder<'_>> {
        let agent = self.market.sandbox.agent().inside(self.agents.unenrolled());
        let bounds = shipped::bounds(&shipped::capabilities()?);
        Ok(agent
            .under(&["setpriv", &bounds])
            .env("MESH_HOST_NETNS", self.host()))
    }

    /// The client asks the service over TCP, and sends datagrams of ten bytes.
    fn talk(&self, datagrams: usize) -> Result<()> {
        assert_eq!(self.market.ask(10)?, "web");
        self.market.client.run(|| -> Result<()> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(SOON))?;
            socket.connect("10.0.1.11:5353".parse::<SocketAddr>()?)?;
            for _ in 0..datagrams {
                socket.send(&[7; 10])?;
                socket.recv(&mut [0; 100])?;
            }
            Ok(())
        })
    }

    /// How many programs or filters of ours are at the interfaces of both pods.
    fn attached(&self, way: &str) -> Result<usize> {
        if way == "tcx" {
            let pins = self.market.sandbox.census()?.pins;
            return Ok(pins
                .iter()
                .filter(|pin| pin.display().to_string().contains("_pod_"))
                .count());
        }
        let mut count = 0;
        for link in ["veth-client", "veth-web"] {
            for direction in ["ingress", "egress"] {
                let show = self.market.sandbox.node().command("tc");
                let output = show.args(["filter", "show", "dev", link, direction]).output()?;
                let text = String::from_utf8(output.stdout)?;
                count += text.matches("handle 0x6d657368 mesh_").count();
            }
        }
        Ok(count)
    }

    /// What `meshctl` says in the agent's pod, whose environment tells where the host is.
    fn meshctl(&self, args: &[&str]) -> Result<String> {
        let launch = self.market.sandbox.meshctl_in(&self.agents.unenrolled())?;
        let output = launch.args(args).env("MESH_HOST_NETNS", self.host()).output()?;
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Datagrams of the client: sent, received.
fn counted(agent: &Agent) -> Result<[u64; 2]> {
    let text = agent.metrics()?;
    let value = |direction: &str| {
        let labels = [r#"pod="client""#, r#"protocol="udp""#, direction];
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("mesh_packets_total{"));
        let line = lines.find(|line| labels.iter().all(|label| line.contains(label)));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.with_context(|| format!("no {direction} in {text}"))
    };
    Ok([value(r#"direction="sent""#)?, value(r#"direction="received""#)?])
}

fn can() -> Result<(), String> {
    harness::require::root().and_then(|()| harness::require::programs(&["setpriv", "tc"]))
}

#[test]
fn packets_are_counted_at_the_hosts_interfaces() -> Result<()> {
    require!(can());
    for way in ["tcx", "clsact"] {
        let scene = Scene::open(&format!("own-{way}"))?;
        let mut agent = scene.builder()?.arg("--packets").arg(way).start()?;
        scene.talk(5)?;
        assert_eq!(counted(&agent)?, [5, 5], "{way}");
        assert_eq!(scene.attached(way)?, 4, "{way}");

        // It is adopted like any other.
        agent.kill9()?;
        scene.talk(5)?;
        agent.restart()?;
        scene.talk(5)?;
        assert_eq!(counted(&agent)?, [15, 15], "{way}");

        // meshctl knows it on the host, and in the agent's pod where that says where the host is.
        let good = format!("ok    packets are counted: 2 of 2 interfaces by {way}");
        let sandbox = &scene.market.sandbox;
        let on_host = String::from_utf8(sandbox.meshctl(["check"])?.stdout)?;
        assert!(on_host.contains(&good), "{on_host}");
        let in_pod = scene.meshctl(&["check"])?;
        assert!(in_pod.contains(&good), "{in_pod}");
        let list = scene.meshctl(&["link", "list"])?;
        assert_eq!(list.matches(&format!("{way}_ingress")).count(), 2, "{list}");

        agent.terminate()?;
        let cleanup = sandbox.cleanup_in(&scene.agents.unenrolled())?;
        let output = cleanup.env("MESH_HOST_NETNS", scene.host()).output()?;
        ensure!(output.status.success(), "{output:?}");
        assert_eq!(scene.attached(way)?, 0, "{way}");
        assert_eq!(sandbox.census()?.pins, Vec::<PathBuf>::new());
    }
    Ok(())
}

/// Neither by its address nor by name.
#[test]
fn neither_the_agents_namespace_nor_the_hosts_is_a_pods() -> Result<()> {
    require!(can());
    let scene = Scene::open("own-ambiguous")?;
    scene.market.apply(&market::pod(&scene.agents, "agent"))?;
    let strangers = ["agent", "node"].map(|handle| {
        let ip = if handle == "node" {
            "10.0.1.98"
        } else {
            "10.0.1.97"
        };
        let pod = harness::manifest::pod(
            "shop",
            &format!("by-name-{handle}"),
            &[],
            &[ip.parse().expect("an address")],
        );
        pod.annotation("mesh-agent.io/netns", handle)
    });
    for pod in &strangers {
        scene.market.apply(pod)?;
    }
    let agent = scene.builder()?.start()?;
    let log = eventually(SOON, || -> Result<String> {
        let log = agent.log();
        for pod in ["shop/agent", "shop/by-name-agent", "shop/by-name-node"] {
            let mut lines = log
                .lines()
                .filter(|line| line.contains("pod without a network namespace"));
            ensure!(lines.any(|line| line.contains(pod)), "{pod}: {log}");
        }
        Ok(log)
    })?;
    assert!(!log.contains("shop/client"), "{log}");
    // What the agent asks is not the mesh's business.
    let ask = scene
        .agents
        .place()
        .run(|| harness::traffic::ask_tcp(market::address(10, 80)));
    assert!(ask.is_err(), "{ask:?}");
    scene.talk(1)
}

#[test]
fn a_host_that_is_none_is_refused_by_name() -> Result<()> {
    require!(can());
    let scene = Scene::open("own-wrong")?;
    for (path, why) in [
        ("/nonexistent", "No such file"),
        ("/proc/self/ns/uts", "Invalid argument"),
    ] {
        let agent = scene.builder()?.arg("--host-netns").arg(path).launch()?;
        let ended = until(SOON, || !agent.program().alive());
        let log = agent.log();
        assert!(
            ended && log.contains(path) && log.contains(why) && log.contains("--host-netns"),
            "{log}"
        );
    }
    Ok(())
}

#[test]
fn a_runtime_directory_that_is_a_mount_stays() -> Result<()> {
    require!(can());
    let scene = Scene::open("own-mount")?;
    let run_dir = scene.market.sandbox.run_dir();
    let mounted = Command::new("mount")
        .arg("--bind")
        .args([&run_dir, &run_dir])
        .status()?;
    ensure!(mounted.success(), "{mounted}");
    let agent = scene.builder()?.start()?;
    agent.terminate()?;
    let cleanup = scene.market.sandbox.cleanup_in(&scene.agents.unenrolled())?;
    let output = cleanup.env("MESH_HOST_NETNS", scene.host()).output()?;
    ensure!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_dir(&run_dir)?.count(), 0);
    Ok(())
}

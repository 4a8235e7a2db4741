//! The capabilities of the `DaemonSet`, with the agent in a network namespace of its own under its broker, as there.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use harness::traffic::{Conversation, ask_udp_unconnected};
use harness::{
    Agent, AgentBuilder, Market, Pod, Program, eventually, market, patient, require, shipped, twins,
};

const SOON: Duration = Duration::from_secs(5);
/// `CAP_SYS_ADMIN` of `linux/capability.h`.
const SYS_ADMIN: u32 = 21;

/// A client, the service `web`, number 10, a pod for the agent, and a process of the host.
struct Scene {
    _web: market::Backend,
    agents: Pod,
    /// May do anything, as process 1 of a host.
    init: Program,
    market: Market,
}

impl Scene {
    fn open(test_name: &str) -> Result<Self> {
        let (market, web) = Market::with_one_web(test_name)?;
        let agents = market.sandbox.pod("agent", &["10.0.1.99"])?;
        let init = market.sandbox.node().command("sleep").arg("1000").start()?;
        Ok(Self {
            _web: web,
            agents,
            init,
            market,
        })
    }

    /// The host's network namespace, as its process 1 shows it.
    fn shown(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.init.pid()).into()
    }

    /// An agent as the manifests start it, with these capabilities.
    fn agent(&self, capabilities: &[String], host: PathBuf) -> AgentBuilder<'_> {
        let agent = self.market.sandbox.agent().inside(self.agents.unenrolled());
        let bounds = shipped::bounds(capabilities);
        let agent = agent.supervised(&[]).under(&["setpriv", &bounds]);
        agent.env("MESH_HOST_NETNS", host).arg("--wait-for-handover")
    }

    /// Everything that needs no look into the kernel's memory: services, records, packets.
    fn works(&self, agent: &Agent) -> Result<()> {
        ensure!(self.market.ask(10)? == "web");
        let socket = || UdpSocket::bind("0.0.0.0:0");
        let asked = || ask_udp_unconnected(&socket()?, market::address(10, 53));
        let answer = self.market.client.run(asked)?;
        ensure!(answer.name == "web" && answer.peer_seen == market::address(10, 53));
        eventually(SOON, || {
            let text = agent.metrics()?;
            for counted in ["istio_tcp_connections_closed_total", "mesh_packets_total"] {
                let count = harness::metrics::sum(&text, counted, &[]);
                ensure!(count > 0, "{counted} is {count}: {}", agent.log());
            }
            Ok(())
        })?;
        self.meshctl("diff").map(drop)
    }

    fn meshctl(&self, line: &str) -> Result<String> {
        let (code, said) = self.run(line)?;
        ensure!(code == Some(0), "{line}: {said}");
        Ok(said)
    }

    /// The exit code, and all that was said.
    fn run(&self, line: &str) -> Result<(Option<i32>, String)> {
        let meshctl = self.market.sandbox.meshctl_in(&self.agents.unenrolled())?;
        let output = meshctl
            .args(line.split(' '))
            .env("MESH_HOST_NETNS", self.shown())
            .output()?;
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok((output.status.code(), said.concat()))
    }

    /// What is listed of a live connection of the client.
    fn listed(&self) -> Result<String> {
        let talk = || Conversation::open(market::address(10, 80));
        let conversation = self.market.client.run(talk)?;
        let list = self.meshctl("connection list");
        drop(conversation);
        list
    }
}

/// The agent's end, and that it says why, and leaves the kernel alone.
fn refused(scene: &Scene, agent: AgentBuilder<'_>, words: &[&str]) -> Result<()> {
    let agent = agent.launch()?;
    let status = agent.program().wait(patient(SOON))?;
    let said = agent.log();
    ensure!(status.code() == Some(1), "{status}: {said}");
    ensure!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    let pins = scene.market.sandbox.census()?.pins;
    ensure!(pins.is_empty(), "{pins:?}");
    ensure!(scene.market.ask(10).is_err(), "who answers?");
    Ok(())
}

/// That all works but the list of connections and acceleration, and that whoever asks is told why.
fn without_looks_into_the_kernel(scene: &Scene, agent: AgentBuilder<'_>) -> Result<()> {
    let agent = agent.start()?;
    scene.works(&agent)?;
    twins::wait_probed(&scene.market.sandbox)?;
    let accel = scene.meshctl("accel status")?;
    ensure!(
        accel.contains("disabled") && accel.contains("CAP_PERFMON"),
        "{accel}"
    );
    eventually(SOON, || {
        let status = scene.meshctl("status")?;
        let limit = status
            .lines()
            .find(|line| line.contains("removed endpoints are not ended"));
        ensure!(limit.is_some_and(|line| line.contains("CAP_PERFMON")), "{status}");
        Ok(())
    })?;
    // What is missing fails the check, and is the only thing that does.
    let (check, said) = scene.run("check")?;
    let failed: Vec<_> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    ensure!(check == Some(1), "{said}");
    ensure!(
        failed.len() == 1
            && failed[0].contains("connections can be listed")
            && failed[0].contains("CAP_PERFMON"),
        "{said}"
    );
    Ok(())
}

fn can() -> Result<(), String> {
    require::root().and_then(|()| require::programs(&["setpriv", "sleep"]))
}

#[test]
fn with_those_of_the_manifest_everything_works() -> Result<()> {
    require!(can());
    let scene = Scene::open("shipped")?;
    let agent = scene.agent(&shipped::capabilities()?, scene.shown()).start()?;
    scene.works(&agent)?;
    let listed = scene.listed()?;
    assert!(listed.contains("shop/web"), "{listed}");
    twins::wait_probed(&scene.market.sandbox)?;
    assert!(!agent.log().contains("CAP_"), "{}", agent.log());
    let accel = scene.meshctl("accel status")?;
    assert!(!accel.contains("disabled"), "{accel}");
    // Entering namespaces is for threads of their own: it would stand for BPF and PERFMON, too.
    let status: serde_json::Value = serde_json::from_str(&scene.market.sandbox.admin("/v1/status")?.body)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", status["pid"]))?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    let effective = u64::from_str_radix(effective.context("no CapEff")?, 16)?;
    assert_eq!(effective >> SYS_ADMIN & 1, 0, "{status}");
    assert_eq!(
        effective.count_ones() as usize,
        shipped::capabilities()?.len() - 1
    );
    Ok(())
}

#[test]
fn each_of_them_is_missed_by_name() -> Result<()> {
    require!(can());
    let all = shipped::capabilities()?;
    for gone in &all {
        let scene = Scene::open(&format!("without-{gone}"))?;
        let left: Vec<_> = all.iter().filter(|name| *name != gone).cloned().collect();
        let agent = |host| scene.agent(&left, host);
        let name = format!("CAP_{gone}");
        match gone.as_str() {
            "BPF" | "NET_ADMIN" | "SYS_ADMIN" => {
                refused(&scene, agent(scene.shown()), &["missing capabilities", &name])?;
            }
            "PERFMON" => without_looks_into_the_kernel(&scene, agent(scene.shown()))?,
            "SYS_PTRACE" => {
                let shown = scene.shown();
                let path = shown.display().to_string();
                refused(&scene, agent(shown), &[&path, "ermission denied", &name])?;
                // A handle of the namespace is shown to everybody.
                let handle = scene.market.sandbox.netns_dir().join("node");
                scene.works(&agent(handle).start()?)?;
            }
            other => bail!("what is CAP_{other} for? Say so here"),
        }
    }
    Ok(())
}

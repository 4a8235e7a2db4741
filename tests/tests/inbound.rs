//! The program at the pods' listeners: whom it refuses, whom it lets be, and how long it stays.
//!
//! Where a test is about the listener alone, the agent runs without packet programs, and nothing else judges what comes
//! from elsewhere.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::manifest;
use harness::policies::Policies;
use harness::traffic::{Conversation, TcpServer, ask_tcp};
use harness::{
    Agent, AgentBuilder, Market, Place, Pod, eventually, kernel, market, metrics, patient, require,
    require_root, until,
};
use mesh_common::abi::{ABI_VERSION, map};
use mesh_common::names;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const SOON: Duration = Duration::from_secs(5);
/// The agent asks the kernel every ten seconds what runs.
const A_LOOK: Duration = Duration::from_secs(13);
/// A refusal is "at once" within this time: a SYN that nobody answers comes again after a second.
const AT_ONCE: Duration = Duration::from_millis(500);
/// The open port of the pod that is asked, beside 8080.
const OPEN_PORT: u16 = 9090;
/// Many.
const PODS: usize = 50;

/// Ingress of the pods of an app: from everybody to the open port.
fn one_port(app: &str) -> Value {
    let mut policy = nobody(app);
    policy["ingress"] = json!([{"ports": [{"port": OPEN_PORT}]}]);
    policy
}

/// As [`one_port`], and from the client to 8080 instead.
fn the_client_elsewhere(app: &str) -> Value {
    let mut policy = nobody(app);
    let client = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
    let strangers = json!([{"ipBlock": {"cidr": "10.0.1.77/32"}}, {"ipBlock": {"cidr": "fd00::1:77/128"}}]);
    policy["ingress"] = json!([
        {"from": client, "ports": [{"port": 8080}]},
        {"from": strangers, "ports": [{"port": OPEN_PORT}]},
    ]);
    policy
}

/// Ingress of the pods of an app: from nobody.
fn nobody(app: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"]})
}

/// A client, and a pod `web` at `10.0.1.11` and `fd00::1:11` that listens on 8080 and 9090; only 9090 is allowed. A third
/// is on the bridge, but not in the mesh.
struct Scene {
    web: market::Backend,
    /// Behind the port that is allowed.
    _open: TcpServer,
    stranger: Pod,
    policies: Policies,
    agent: Agent,
    market: Market,
}

impl Scene {
    fn open(test_name: &str) -> Result<Self> {
        Self::with(test_name, &[])
    }

    /// Where no packet program judges.
    fn alone(test_name: &str) -> Result<Self> {
        Self::with(test_name, &["--packets", "off"])
    }

    fn with(test_name: &str, args: &[&str]) -> Result<Self> {
        let market = Market::open(test_name, true)?;
        market.apply(&market::pod(&market.client, "client"))?;
        let web = market.backend("web", "web", 11)?;
        let open = web
            .pod
            .serve_tcp(SocketAddr::new("::".parse()?, OPEN_PORT), "open")?;
        let stranger = market.pod("stranger", &["10.0.1.77", "fd00::1:77"])?;
        let builder = market.sandbox.agent();
        let agent = args.iter().fold(builder, AgentBuilder::arg).start()?;
        let scene = Self {
            web,
            _open: open,
            stranger,
            policies: Policies::default(),
            agent,
            market,
        };
        scene.enforce(&[one_port("web")])?;
        Ok(scene)
    }

    /// Makes these the policies, and waits until they are in force.
    fn enforce(&self, policies: &[Value]) -> Result<()> {
        let names: Vec<_> = (0..policies.len()).map(|n| format!("shop/policy-{n}")).collect();
        let all = names.iter().map(String::as_str).zip(policies);
        self.policies
            .switch(&self.market.sandbox, &all.collect::<Vec<_>>())
    }

    /// Whether the pod takes a connection to a port of its IPv4 address.
    fn ask(&self, from: &Place, port: u16) -> io::Result<()> {
        ask(from, (self.web.pod.v4(), port).into())
    }

    /// What policies said at listeners, as the agent has counted it.
    fn said(&self, verdict: &str) -> Result<u64> {
        let text = self.agent.metrics()?;
        let labels = [
            ("verdict", verdict),
            ("reason", "policy"),
            ("direction", "ingress"),
        ];
        Ok(metrics::sum(&text, "mesh_verdicts_total", &labels))
    }

    /// Waits until that was counted so often.
    fn counted(&self, verdict: &str, times: u64) -> Result<()> {
        eventually(SOON, || {
            let said = self.said(verdict)?;
            ensure!(said == times, "{said} times {verdict}, not {times}");
            Ok(())
        })
    }

    fn meshctl(&self, line: &str) -> Result<String> {
        let output = self.market.sandbox.meshctl(line.split(' '))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The pinned links of the program with their ids.
    fn links(&self) -> Result<BTreeMap<PathBuf, u32>> {
        links(&self.market)
    }
}

fn links(market: &Market) -> Result<BTreeMap<PathBuf, u32>> {
    let pins = market.sandbox.census()?.pins.into_iter();
    let ours = pins.filter(|pin| pin.display().to_string().contains("/mesh_inbound_"));
    ours.map(|pin| Ok((pin.clone(), kernel::link(&pin)?.id)))
        .collect()
}

fn link_of(market: &Market, pod: &Pod) -> Result<PathBuf> {
    let dir = market.sandbox.bpffs().join("mesh/v1/links");
    Ok(dir.join(format!("mesh_inbound_{}", pod.netns_cookie()?)))
}

/// Runs a program to its good end.
fn run(place: &Place, line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let program = words.next().context("no program")?;
    let output = place.command(program).args(words).output()?;
    ensure!(output.status.success(), "{line}: {output:?}");
    Ok(())
}

fn ask(from: &Place, to: SocketAddr) -> io::Result<()> {
    from.run(|| ask_tcp(to).map(drop))
}

/// That the caller is refused, and knows at once.
fn refused(from: &Place, to: SocketAddr) -> Result<()> {
    let start = Instant::now();
    let answer = ask(from, to);
    let took = start.elapsed();
    let error = answer.err().with_context(|| format!("{to} took a connection"))?;
    ensure!(error.kind() == ErrorKind::ConnectionRefused, "{to}: {error}");
    ensure!(took < patient(AT_ONCE), "{to}: after {took:?}");
    Ok(())
}

#[test]
fn whoever_asks_is_refused_at_once() -> Result<()> {
    require_root!();
    let scene = Scene::open("refused")?;
    let (v4, v6) = (scene.web.pod.v4(), scene.web.pod.v6());
    for from in [scene.market.client.place(), scene.stranger.place()] {
        for ip in [v4, v6] {
            refused(from, (ip, 8080).into())?;
            ask(from, (ip, OPEN_PORT).into()).with_context(|| format!("{} to {ip}", from.name()))?;
        }
    }
    assert_eq!(scene.web.tcp.accepted(), 0);
    scene.counted("denied", 4)?;
    scene.counted("allowed", 4)?;

    let records = eventually(SOON, || {
        let lines = scene.meshctl("flows -o json --last 100")?;
        let records = lines.lines().map(serde_json::from_str::<Value>);
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let denied: Vec<_> = records.into_iter().filter(|it| it["event"] == "denied").collect();
        ensure!(denied.len() == 4, "{denied:?}");
        Ok(denied)
    })?;
    let first = &records[0];
    for (field, expected) in [
        ("/reporter", "destination"),
        ("/reason", "policy"),
        ("/protocol", "TCP"),
        ("/source/pod", "client"),
        ("/destination/pod", "web"),
        ("/destination/address", "10.0.1.11:8080"),
        ("/destination/attestedBy", "address"),
    ] {
        let found = first.pointer(field).and_then(Value::as_str);
        assert_eq!(found, Some(expected), "{field} of {first}");
    }
    Ok(())
}

#[test]
fn classes_tell_peers_apart() -> Result<()> {
    require_root!();
    let scene = Scene::open("classes")?;
    scene.enforce(&[the_client_elsewhere("web")])?;
    for ip in scene.web.pod.ips() {
        ask(scene.market.client.place(), (*ip, 8080).into())?;
        refused(scene.market.client.place(), (*ip, OPEN_PORT).into())?;
        refused(scene.stranger.place(), (*ip, 8080).into())?;
        ask(scene.stranger.place(), (*ip, OPEN_PORT).into())?;
    }
    Ok(())
}

#[test]
fn what_is_established_goes_on_while_it_is_allowed() -> Result<()> {
    require_root!();
    let scene = Scene::alone("established")?;
    let open = SocketAddr::new(scene.web.pod.v4(), OPEN_PORT);
    let (client, stranger) = (&scene.market.client, &scene.stranger);
    let mut denied = client.run(|| Conversation::open(open))?;
    let mut allowed = stranger.run(|| Conversation::open(open))?;
    scene.enforce(&[the_client_elsewhere("web")])?;
    refused(client.place(), open)?;
    allowed.echo(&vec![7; 100_000])?;
    ensure!(until(SOON, || denied.echo(b"still here?").is_err()), "it goes on");
    // Policies that are gone hold nobody back.
    scene.enforce(&[])?;
    scene.ask(client.place(), 8080)?;
    allowed.echo(b"still here")?;
    Ok(())
}

#[test]
fn a_pod_talks_to_itself() -> Result<()> {
    require_root!();
    let scene = Scene::open("itself")?;
    let two = scene.market.pod("two", &["10.0.1.31", "10.0.1.32"])?;
    let _two = two.serve_tcp("0.0.0.0:8080".parse()?, "two")?;
    scene.market.apply(&market::pod(&two, "two"))?;
    scene.enforce(&[nobody("web"), nobody("two")])?;
    for ip in scene.web.pod.ips().iter().chain(two.ips()) {
        refused(scene.market.client.place(), (*ip, 8080).into())?;
    }
    for ip in scene.web.pod.ips() {
        ask(scene.web.pod.place(), (*ip, 8080).into())?;
    }
    for loopback in ["127.0.0.1:8080", "127.9.9.9:8080", "[::1]:8080"] {
        ask(scene.web.pod.place(), loopback.parse()?)?;
    }
    // From one of its addresses to the other.
    let from: SocketAddr = "10.0.1.32:0".parse()?;
    let to: SocketAddr = "10.0.1.31:8080".parse()?;
    two.run(|| Conversation::open_from(from, to).map(drop))?;
    assert_eq!(scene.said("denied")?, 4);
    Ok(())
}

#[test]
fn other_interfaces_are_let_be() -> Result<()> {
    require_root!();
    let scene = Scene::alone("secondary")?;
    scene.enforce(&[nobody("web")])?;
    for line in [
        "ip link add net1 type veth peer name net1-end",
        "ip addr add 10.0.9.11/32 dev net1",
        "ip link set net1 up",
    ] {
        run(scene.web.pod.place(), line)?;
    }
    refused(scene.market.client.place(), "10.0.1.11:8080".parse()?)?;
    ask(scene.market.client.place(), "10.0.9.11:8080".parse()?)?;
    Ok(())
}

#[test]
fn the_hosts_own_sockets_pass() -> Result<()> {
    require_root!();
    let scene = Scene::alone("host")?;
    scene.enforce(&[nobody("web")])?;
    let host = scene.market.sandbox.outside_pod();
    for ip in scene.web.pod.ips() {
        for _ in 0..3 {
            ask(host, (*ip, 8080).into())?;
        }
    }
    // It is the socket that passes, not the address: what nobody saw connect is a peer.
    refused(&scene.market.sandbox.node(), "10.0.1.11:8080".parse()?)?;
    scene.counted("denied", 1)
}

/// Without policies nobody asks whose sockets they are, and the host's connections cost nothing.
#[test]
fn the_hosts_own_sockets_are_noted_only_where_there_are_policies() -> Result<()> {
    require_root!();
    let market = Market::open("host-noted", true)?;
    let web = market.backend("web", "web", 11)?;
    let _agent = market.sandbox.agent().arg("--packets").arg("off").start()?;
    let host = market.sandbox.outside_pod();
    let table = market
        .sandbox
        .bpffs()
        .join(format!("mesh/v{ABI_VERSION}/maps"))
        .join(map::HOST_FLOWS);
    for _ in 0..3 {
        ask(host, (web.pod.v4(), 8080).into())?;
    }
    assert_eq!(kernel::entries(&table)?, 0);
    Policies::default().switch(&market.sandbox, &[("shop/web", &nobody("web"))])?;
    ask(host, (web.pod.v4(), 8080).into())?;
    assert_eq!(kernel::entries(&table)?, 1);
    Ok(())
}

/// What kube-proxy makes of a Service, for the host's own sockets.
const TRANSLATION: &str = "table ip services {
    chain own {
        type nat hook output priority -100
        ip daddr 10.96.0.10 tcp dport 80 dnat to 10.0.1.11:8080
    }
}
";

/// When its socket connects, nothing tells that it will be a pod: the packet shows it.
#[test]
fn the_hosts_own_sockets_pass_by_way_of_a_service() -> Result<()> {
    require_root!();
    require!(harness::require::program("nft"));
    let scene = Scene::open("host-service")?;
    scene.market.apply(&market::service("web", 10))?;
    scene.enforce(&[nobody("web")])?;
    let (node, service) = (scene.market.sandbox.node(), market::address(10, 80));
    let file = scene.market.sandbox.run_dir().join("services.nft");
    std::fs::write(&file, TRANSLATION)?;
    let loaded = run(&node, &format!("nft -f {}", file.display()));
    require!(loaded.map_err(|error| format!("translation on the node: {error:#}")));
    run(&node, "ip route add 10.96.0.0/16 dev br0")?;
    for host in [scene.market.sandbox.outside_pod(), &node] {
        for _ in 0..3 {
            let answer = host.run(|| ask_tcp(service));
            let answer = answer.with_context(|| format!("{} by way of {service}", host.name()))?;
            ensure!(answer.name == "web", "{answer:?}");
        }
    }
    assert_eq!(scene.said("denied")?, 0);
    // It opens no door to others.
    for from in [scene.market.client.place(), scene.stranger.place()] {
        refused(from, "10.0.1.11:8080".parse()?)?;
    }
    scene.counted("denied", 2)
}

#[test]
fn an_audit_lets_pass_and_counts() -> Result<()> {
    require_root!();
    let scene = Scene::open("audit")?;
    let shop = manifest::namespace("shop", true);
    let audited = names::policy_mode::ANNOTATION;
    scene
        .market
        .apply(&shop.clone().annotation(audited, names::policy_mode::AUDIT))?;
    let is_let_in = || scene.ask(scene.market.client.place(), 8080).is_ok();
    ensure!(until(SOON, is_let_in), "it is still refused");
    scene.counted("audited", 1)?;
    scene.ask(scene.stranger.place(), 8080)?;
    scene.ask(scene.stranger.place(), OPEN_PORT)?;
    scene.counted("audited", 2)?;
    // With SYN cookies it is asked twice for each handshake.
    scene
        .web
        .pod
        .run(|| std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2"))?;
    scene.ask(scene.stranger.place(), 8080)?;
    scene.counted("audited", 3)?;
    scene.market.apply(&shop)?;
    let before = scene.said("denied")?;
    eventually(SOON, || {
        refused(scene.stranger.place(), "10.0.1.11:8080".parse()?)
    })?;
    scene.ask(scene.stranger.place(), OPEN_PORT)?;
    // The tries from before the switch was seen may be counted after they were read.
    eventually(SOON, || {
        ensure!(scene.said("denied")? > before, "no denial was counted");
        Ok(())
    })
}

/// Connects again and again until told to stop; how often the answer was as wanted, and all that were not.
fn hammer(from: &Place, to: SocketAddr, wanted: bool, stop: &AtomicBool) -> (usize, Vec<String>) {
    from.run(|| {
        let (mut right, mut wrong) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let answer = ask_tcp(to);
            if answer.is_ok() == wanted {
                right += 1;
            } else {
                wrong.push(format!("{answer:?}"));
            }
        }
        (right, wrong)
    })
}

#[test]
fn it_stays_when_the_agent_goes_and_the_next_takes_it_over() -> Result<()> {
    require_root!();
    let mut scene = Scene::open("takeover")?;
    let before = scene.links()?;
    assert_eq!(before.len(), 2, "{before:?}");
    let (client, stop) = (scene.market.client.clone(), AtomicBool::new(false));
    let web = scene.web.pod.v4();
    thread::scope(|scope| -> Result<()> {
        let allowed = scope.spawn(|| hammer(client.place(), (web, OPEN_PORT).into(), true, &stop));
        let denied = scope.spawn(|| hammer(client.place(), (web, 8080).into(), false, &stop));
        let mut cycle = || -> Result<()> {
            for _ in 0..2 {
                scene.agent.kill9()?;
                thread::sleep(Duration::from_millis(300));
                scene.agent.restart()?;
                scene.agent.restart()?;
            }
            Ok(())
        };
        let cycled = cycle();
        stop.store(true, Ordering::Relaxed);
        for hammered in [allowed, denied] {
            let (right, wrong) = hammered.join().expect("a thread that hammers");
            ensure!(right > 100 && wrong.is_empty(), "{right} right, {wrong:?}");
        }
        cycled
    })?;
    assert_eq!(scene.links()?, before);
    assert_eq!(scene.web.tcp.accepted(), 0);
    let list = scene.meshctl("link list")?;
    assert_eq!(list.matches("sk_lookup").count(), 2, "{list}");
    let programs = scene.meshctl("prog list")?;
    assert_eq!(
        programs.matches(" mesh_inbound ").count(),
        1,
        "one program for all: {programs}"
    );
    Ok(())
}

#[test]
fn it_goes_with_the_pod() -> Result<()> {
    require_root!();
    let mut scene = Scene::open("goes")?;
    let (web, client) = (
        link_of(&scene.market, &scene.web.pod)?,
        link_of(&scene.market, &scene.market.client)?,
    );
    assert!(web.exists() && client.exists());
    // It leaves the mesh.
    scene.market.delete(&market::pod(&scene.web.pod, "web"))?;
    assert!(until(SOON, || !web.exists()), "the link stays");
    assert!(client.exists());
    scene.ask(scene.market.client.place(), 8080)?;
    // It comes back.
    scene.market.apply(&market::pod(&scene.web.pod, "web"))?;
    assert!(until(SOON, || web.exists()), "no link");

    // Its network namespace goes while no agent looks.
    scene.agent.kill9()?;
    scene.web.pod.delete()?;
    assert!(web.exists());
    scene.agent.restart()?;
    assert_eq!(scene.links()?.len(), 1);
    assert!(!web.exists());

    scene.agent.terminate()?;
    let output = scene.market.sandbox.cleanup()?;
    ensure!(output.status.success(), "{output:?}");
    assert!(scene.market.sandbox.census()?.pins.is_empty());
    Ok(())
}

#[test]
fn what_is_taken_away_is_put_back() -> Result<()> {
    require_root!();
    let scene = Scene::alone("mended")?;
    let link = link_of(&scene.market, &scene.web.pod)?;
    std::fs::remove_file(&link)?;
    // The kernel detaches a link that is gone a moment later.
    let is_let_in = || scene.ask(scene.market.client.place(), 8080).is_ok();
    ensure!(until(SOON, is_let_in), "something else refuses");
    let check = scene.meshctl("check")?;
    ensure!(
        check.contains("FAIL  connections to pods are judged: link mesh_inbound_"),
        "{check}"
    );
    assert!(until(A_LOOK, || link.exists()), "{}", scene.agent.log());
    refused(scene.market.client.place(), "10.0.1.11:8080".parse()?)?;
    let log = scene.agent.log();
    ensure!(
        log.contains("shop/web") && log.contains("is not attached"),
        "{log}"
    );
    eventually(SOON, || {
        let ready = scene.agent.get(names::port::READINESS, "/readyz")?;
        ensure!(ready.status == 200, "{}", ready.body);
        Ok(())
    })?;
    let check = scene.meshctl("check")?;
    ensure!(
        check.contains("ok    connections to pods are judged: at 2 pods"),
        "{check}"
    );
    Ok(())
}

#[test]
fn an_address_that_is_no_pods_has_no_rules() -> Result<()> {
    require_root!();
    let scene = Scene::alone("foreign")?;
    // The pod gives itself the address of another that has rules: those hold.
    let other = scene.market.backend("other", "other", 12)?;
    let victim: IpAddr = other.pod.v4();
    scene.enforce(&[one_port("web"), nobody("other")])?;
    other.tcp.stop();
    for ip in ["10.0.1.12", "10.0.1.200"] {
        run(scene.web.pod.place(), &format!("ip addr add {ip}/32 dev lo"))?;
    }
    ask(scene.stranger.place(), "10.0.1.200:8080".parse()?)?;
    run(scene.stranger.place(), "ip route add 10.0.1.12/32 via 10.0.1.11")?;
    refused(scene.stranger.place(), (victim, 8080).into())
}

/// How long a socket waits for its connection, in the median of these tries.
fn median(from: &Place, to: SocketAddr, tries: usize) -> Result<Duration> {
    from.run(|| {
        let mut times = Vec::new();
        for _ in 0..tries {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            let start = Instant::now();
            // Refused or not.
            let _answer = socket.connect(&to.into());
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(times[tries / 2])
    })
}

#[test]
fn many_namespaces() -> Result<()> {
    require_root!();
    let market = Market::open("many", true)?;
    let mut pods = Vec::new();
    for number in 0..PODS {
        pods.push(market.pod(&format!("pod-{number}"), &[&format!("10.0.2.{}", number + 1)])?);
    }
    let mut agent = market.sandbox.agent().start()?;
    let start = Instant::now();
    for (number, pod) in pods.iter().enumerate() {
        let app = if number == 0 { "first" } else { "many" };
        market.apply(&market::pod(pod, app))?;
    }
    let all = || links(&market).is_ok_and(|links| links.len() == PODS + 1);
    assert!(until(patient(SOON), all), "{}", agent.log());
    let attached = start.elapsed();
    let before = links(&market)?;
    agent.terminate()?;
    let start = Instant::now();
    agent.restart()?;
    let restarted = start.elapsed();
    assert_eq!(links(&market)?, before);

    Policies::default().switch(&market.sandbox, &[("shop/first", &nobody("first"))])?;
    let (first, second) = (&pods[0], &pods[1]);
    let refused = median(market.client.place(), (first.v4(), 8080).into(), 200)?;
    let closed = median(market.client.place(), (second.v4(), 8080).into(), 200)?;
    eprintln!(
        "{PODS} pods: {attached:?} from their manifests to the last link; a restart took {restarted:?}; \
         refused in {refused:?} (a port where nobody listens: {closed:?})"
    );
    assert!(refused < patient(Duration::from_millis(1)), "{refused:?}");
    Ok(())
}

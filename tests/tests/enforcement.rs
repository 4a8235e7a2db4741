//! Policies at the host end of a pod's interface: whose addresses pass, what default-deny lets through, and what crafted
//! packets reach.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::by_hand::Policies;
use harness::traffic::ask_tcp;
use harness::{Agent, Market, Pod, eventually, market, metrics, require, require_root, until};
use mesh_common::rules::flag::AUDIT;

const SOON: Duration = Duration::from_secs(3);
/// How long is waited for what should not come.
const A_WHILE: Duration = Duration::from_millis(400);
/// Rule sets without a rule.
const CLOSED: u32 = 7;
/// A rule set that tests put rules into.
const RULED: u32 = 8;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// A client at 10.0.1.1, and `web` at 10.0.1.11 with UDP on 5353 and TCP on 8080.
struct Scene {
    policies: Policies,
    agent: Agent,
    web: market::Backend,
    market: Market,
}

impl Scene {
    fn open(test_name: &str, way: &str) -> Result<Self> {
        let market = Market::open(test_name, true)?;
        let web = market.backend("web", "web", 11)?;
        let agent = market.sandbox.agent().arg("--packets").arg(way).start()?;
        let policies = Policies::open(&market.sandbox)?;
        let scene = Self {
            policies,
            agent,
            web,
            market,
        };
        // Both interfaces are owned once their packets are counted.
        eventually(SOON, || {
            let owned = std::fs::read_dir(scene.market.sandbox.bpffs().join("mesh/v1/links"))?;
            let links = owned.filter(|entry| {
                let name = entry.as_ref().map(std::fs::DirEntry::file_name);
                name.is_ok_and(|name| name.to_string_lossy().contains("_pod_"))
            });
            ensure!(way != "tcx" || links.count() == 4, "not attached");
            let listed = scene.market.sandbox.meshctl(["check"])?;
            let listed = String::from_utf8(listed.stdout)?;
            ensure!(listed.contains("2 of 2 interfaces"), "{listed}");
            Ok(())
        })?;
        scene.open_to_all()?;
        Ok(scene)
    }

    /// No policies, but addresses are known.
    fn open_to_all(&self) -> Result<()> {
        self.policies.set(&self.market.client, [0, 0], 0)?;
        self.policies.set(&self.web.pod, [0, 0], 0)
    }

    fn verdicts(&self, labels: &[(&str, &str)]) -> Result<u64> {
        Ok(metrics::sum(
            &self.agent.metrics()?,
            "mesh_verdicts_total",
            labels,
        ))
    }

    fn denied(&self, reason: &str, direction: &str) -> Result<u64> {
        self.verdicts(&[
            ("verdict", "denied"),
            ("reason", reason),
            ("direction", direction),
        ])
    }

    /// Runs a script of Python in a pod.
    fn craft(pod: &Pod, script: &str) -> Result<()> {
        let output = pod.command("python3").args(["-c", script]).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    /// Whether another datagram reaches the server while `work` is done.
    fn arrives(&self, work: impl FnOnce() -> Result<()>) -> Result<bool> {
        let before = self.web.udp.received();
        work()?;
        Ok(until(A_WHILE, || self.web.udp.received() > before))
    }
}

/// Whether a datagram from there is answered. From outside of the mesh's cgroup: no program sees the socket, so that what
/// happens happens to its packets.
fn asks(pod: &Pod, to: &str) -> Result<bool> {
    let to: SocketAddr = to.parse()?;
    pod.unenrolled().run(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(A_WHILE))?;
        socket.send_to(b"?", to)?;
        Ok(socket.recv(&mut [0; 100]).is_ok())
    })
}

/// A datagram with that source, from a raw socket.
fn raw_datagram(source: &str) -> String {
    format!(
        "import socket,struct\n\
         s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_RAW)\n\
         u=struct.pack('!HHHH',4444,5353,9,0)+b'x'\n\
         i=struct.pack('!BBHHHBBH4s4s',0x45,0,0,1,0,64,17,0,socket.inet_aton('{source}'),socket.inet_aton('10.0.1.11'))\n\
         s.sendto(i+u,('10.0.1.11',0))"
    )
}

fn crafting() -> Result<(), String> {
    require::root().and_then(|()| require::programs(&["python3", "ping"]))
}

#[test]
fn a_pod_sends_from_its_own_addresses_only() -> Result<()> {
    require!(crafting());
    for way in ["tcx", "clsact"] {
        let scene = Scene::open(&format!("spoof-{way}"), way)?;
        let client = &scene.market.client;
        let raw = |source: &str| Scene::craft(client, &raw_datagram(source));
        assert!(scene.arrives(|| raw("10.0.1.1"))?, "{way}: its own");
        assert!(!scene.arrives(|| raw("10.0.1.77"))?, "{way}: forged");
        assert!(scene.denied("spoofed", "egress")? >= 1, "{way}");
        // Another pod's is no better.
        assert!(!scene.arrives(|| raw("10.0.1.11"))?, "{way}: the other's");
        // One that it is lent.
        scene.policies.lend(client, "10.0.1.77".parse()?)?;
        assert!(scene.arrives(|| raw("10.0.1.77"))?, "{way}: lent");
    }
    Ok(())
}

#[test]
fn frames_past_the_pods_own_stack_are_judged_like_any() -> Result<()> {
    require!(crafting());
    let scene = Scene::open("bypass", "tcx")?;
    let client = &scene.market.client;
    assert!(asks(client, "10.0.1.11:5353")?);
    let frame = |source: &str, tag: &str| {
        format!(
            "import socket,struct\n\
             s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\n\
             s.setsockopt(263,20,1)\n\
             s.bind(('eth0',0))\n\
             m=open('/sys/class/net/eth0/address').read()\n\
             u=struct.pack('!HHHH',4444,5353,9,0)+b'x'\n\
             h=struct.pack('!BBHHHBBH4s4s',0x45,0,29,1,0,64,17,0,socket.inet_aton('{source}'),socket.inet_aton('10.0.1.11'))\n\
             w=[h[i]<<8|h[i+1] for i in range(0,20,2)];c=sum(w);c=(c&65535)+(c>>16);c=~c&65535\n\
             h=h[:10]+struct.pack('!H',c)+h[12:]\n\
             s.send(b'\\xff'*6+b'\\x02\\x00\\x00\\x00\\x00\\x09'+{tag}b'\\x08\\x00'+h+u)"
        )
    };
    let send = |source: &str, tag: &str| Scene::craft(client, &frame(source, tag));
    assert!(scene.arrives(|| send("10.0.1.1", ""))?, "its own");
    assert!(!scene.arrives(|| send("10.0.1.77", ""))?, "forged");
    // A tag that says nothing but a priority changes nothing.
    assert!(
        !scene.arrives(|| send("10.0.1.77", "b'\\x81\\x00\\x00\\x00'+"))?,
        "forged, tagged"
    );
    let twice = "b'\\x81\\x00\\x00\\x00\\x81\\x00\\x00\\x00'+";
    assert!(
        !scene.arrives(|| send("10.0.1.77", twice))?,
        "forged, tagged twice"
    );
    assert!(scene.denied("spoofed", "egress")? >= 3);
    Ok(())
}

#[test]
fn an_address_that_a_pod_gives_itself_is_nobodys() -> Result<()> {
    require!(crafting());
    let scene = Scene::open("added", "tcx")?;
    let client = &scene.market.client;
    let add = client
        .command("ip")
        .args(["addr", "add", "10.0.1.88/32", "dev", "eth0"]);
    ensure!(add.output()?.status.success());
    let added: SocketAddr = "10.0.1.88:0".parse()?;
    let send = || -> Result<()> {
        client.run(|| {
            let socket = UdpSocket::bind(added)?;
            socket.send_to(b"?", "10.0.1.11:5353")?;
            Ok(())
        })
    };
    assert!(!scene.arrives(send)?);
    // Whoever asks where it is hears nothing.
    let ping = || {
        scene
            .market
            .sandbox
            .node()
            .command("ping")
            .args(["-c1", "-W1", "10.0.1.88"])
            .output()
    };
    assert!(!ping()?.status.success());
    scene.policies.lend(client, "10.0.1.88".parse()?)?;
    // Neighbours were asked in vain before, and are asked again after a while only.
    assert!(until(SOON, || scene.arrives(send).unwrap_or_default()));
    assert!(until(SOON, || ping().is_ok_and(|ping| ping.status.success())));
    Ok(())
}

#[test]
fn default_deny_holds_both_ways_and_answers_pass() -> Result<()> {
    require_root!();
    let scene = Scene::open("deny", "tcx")?;
    let (client, web) = (&scene.market.client, &scene.web.pod);
    for to in ["10.0.1.11:5353", "[fd00::1:11]:5353"] {
        assert!(asks(client, to)?, "{to}");
        // Unsolicited.
        scene.policies.set(web, [CLOSED, 0], 0)?;
        assert!(!scene.arrives(|| asks(client, to).map(drop))?, "{to}");
        // What it asks itself is answered.
        let server = client.serve_udp("[::]:5353".parse()?, "client")?;
        let of_client = to.replace("1.11:", "1.1:").replace("1:11]", "1:1]");
        assert!(asks(web, &of_client)?, "{of_client}");
        drop(server);
        // A rule lets the client in, and the answers out, though nothing else may leave.
        let peer: IpAddr = if to.starts_with('[') {
            client.v6()
        } else {
            client.v4()
        };
        scene.policies.classify(peer, 3)?;
        scene.policies.allow(RULED, 3, UDP, 5353)?;
        scene.policies.set(web, [RULED, CLOSED], 0)?;
        assert!(asks(client, to)?, "{to}");
        // Until the rule is gone.
        scene.policies.set(web, [CLOSED, CLOSED], 0)?;
        assert!(!asks(client, to)?, "{to}");
        scene.open_to_all()?;
    }
    assert!(scene.denied("policy", "ingress")? >= 2);
    Ok(())
}

#[test]
fn crafted_segments_reach_nobody() -> Result<()> {
    require!(crafting());
    let scene = Scene::open("segments", "tcx")?;
    let (client, web) = (&scene.market.client, &scene.web.pod);
    scene.policies.set(client, [CLOSED, CLOSED], 0)?;
    let segment = |flags: u8, payload: &str| {
        format!(
            "import socket,struct\n\
             s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_RAW)\n\
             t=struct.pack('!HHIIBBHHH',4444,8080,1,1,0x50,{flags},512,0,0)+b'{payload}'\n\
             i=struct.pack('!BBHHHBBH4s4s',0x45,0,0,1,0,64,6,0,socket.inet_aton('10.0.1.1'),socket.inet_aton('10.0.1.11'))\n\
             s.sendto(i+t,('10.0.1.11',0))"
        )
    };
    for (flags, payload) in [
        (2, ""),
        (2, "fast"),
        (16, "data"),
        (24, "data"),
        (17, ""),
        (4, ""),
    ] {
        let before = scene.denied("policy", "egress")?;
        Scene::craft(client, &segment(flags, payload))?;
        eventually(SOON, || {
            let now = scene.denied("policy", "egress")?;
            ensure!(now > before, "flags {flags} with {payload:?} passed");
            Ok(())
        })?;
    }
    // From the other side, too: the handshake of a client that the server's policies refuse comes to nothing.
    scene.open_to_all()?;
    scene.policies.set(web, [CLOSED, 0], 0)?;
    let refused = client.run(|| {
        std::net::TcpStream::connect_timeout(&"10.0.1.11:8080".parse().expect("an address"), A_WHILE)
    });
    assert!(refused.is_err());
    assert_eq!(scene.web.tcp.accepted(), 0);
    Ok(())
}

#[test]
fn tcp_of_allowed_peers_goes_on() -> Result<()> {
    require_root!();
    let scene = Scene::open("tcp", "tcx")?;
    let (client, web) = (&scene.market.client, &scene.web.pod);
    scene.policies.classify(client.v4(), 3)?;
    scene.policies.allow(RULED, 3, TCP, 8080)?;
    scene.policies.set(web, [RULED, CLOSED], 0)?;
    let to: SocketAddr = "10.0.1.11:8080".parse()?;
    let mut talk = client.run(|| harness::traffic::Conversation::open(to))?;
    talk.echo(b"before")?;
    scene.policies.judge_again()?;
    talk.echo(b"after a change that leaves it alone")?;
    // One that does not: nothing more passes.
    scene.policies.set(web, [CLOSED, CLOSED], 0)?;
    talk.stream().set_read_timeout(Some(A_WHILE))?;
    assert!(talk.echo(b"forbidden").is_err());
    Ok(())
}

#[test]
fn the_hosts_own_sockets_reach_every_pod() -> Result<()> {
    require_root!();
    let scene = Scene::open("host", "tcx")?;
    scene.policies.set(&scene.web.pod, [CLOSED, CLOSED], 0)?;
    let node = scene.market.sandbox.node();
    let tcp = node.run(|| ask_tcp("10.0.1.11:8080".parse().expect("an address")));
    assert_eq!(tcp.context("TCP from the host")?.name, "web");
    for to in ["10.0.1.11:5353", "[fd00::1:11]:5353"] {
        let to: SocketAddr = to.parse()?;
        node.run(|| -> Result<()> {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(SOON))?;
            socket.send_to(b"?", to)?;
            socket
                .recv(&mut [0; 100])
                .with_context(|| format!("UDP from the host to {to}"))?;
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_is_only_audited_passes_and_is_counted() -> Result<()> {
    require_root!();
    let scene = Scene::open("audit", "tcx")?;
    scene.policies.set(&scene.web.pod, [CLOSED, CLOSED], AUDIT)?;
    assert!(asks(&scene.market.client, "10.0.1.11:5353")?);
    let audited = [("verdict", "audited"), ("direction", "ingress")];
    assert!(scene.verdicts(&audited)? >= 1);
    scene.policies.set(&scene.web.pod, [CLOSED, CLOSED], 0)?;
    assert!(!asks(&scene.market.client, "10.0.1.11:5353")?);
    Ok(())
}

#[test]
fn pieces_follow_their_first_and_pings_pass() -> Result<()> {
    require!(crafting());
    let scene = Scene::open("pieces", "tcx")?;
    let (client, web) = (&scene.market.client, &scene.web.pod);
    let large = |answered: bool| -> Result<()> {
        for to in ["10.0.1.11:5353", "[fd00::1:11]:5353"] {
            let to: SocketAddr = to.parse()?;
            let came = client.run(|| -> Result<bool> {
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.set_read_timeout(Some(A_WHILE))?;
                // Where the other end is closed, its sender is told at once.
                let sent = socket.send_to(&[7; 5_000], to);
                Ok(sent.is_ok() && socket.recv(&mut [0; 9_000]).is_ok())
            })?;
            ensure!(came == answered, "{to}: {came}");
        }
        Ok(())
    };
    scene.policies.allow(RULED, 0, UDP, 5353)?;
    scene.policies.set(web, [RULED, CLOSED], 0)?;
    large(true)?;
    scene.policies.set(web, [CLOSED, CLOSED], 0)?;
    large(false)?;
    let ping = client
        .command("ping")
        .args(["-c1", "-W2", "10.0.1.11"])
        .output()?;
    assert!(ping.status.success(), "{ping:?}");
    Ok(())
}

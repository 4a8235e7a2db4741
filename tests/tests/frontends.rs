//! What clients dial besides cluster IPs, where it leads, and what is left to the host.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::agent::NODE_NAME;
use harness::manifest::{self, Endpoint, Manifest, Port};
use harness::scene::{self, NAMESPACE, PORT, Shop, UNTOUCHED, vips};
use harness::traffic::{Answer, TcpServer, UdpServer, ask_tcp, ask_udp_unconnected};
use harness::{metrics, patient, require_root, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(3);
/// What a refusal may take.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Who answers on the node itself.
const HOST: &str = "host";
/// Questions after which each of two backends has answered, but once in a hundred million times.
const MANY: usize = 28;

const NODE_V4: &str = "10.0.0.1";
const NODE_V6: &str = "fd00::1";
const NODE_PORT: u16 = 30_080;

fn ports() -> [Port; 2] {
    [
        Port::tcp(80).to(PORT).named("tcp"),
        Port::udp(80).to(PORT).named("udp"),
    ]
}

/// Service number 10 with a node port, in both protocols.
fn web() -> Manifest {
    let port = |protocol: &str| {
        json!({
            "name": protocol.to_lowercase(),
            "protocol": protocol,
            "port": 80,
            "targetPort": PORT,
            "nodePort": NODE_PORT,
            "appProtocol": "example.org/greeting",
        })
    };
    let service = scene::service("web", 10, &ports()).set("spec.type", "LoadBalancer");
    service.set("spec.ports", json!([port("TCP"), port("UDP")]))
}

fn node(addresses: &[&str]) -> Manifest {
    let addresses: Vec<Value> = addresses
        .iter()
        .map(|address| json!({ "type": "InternalIP", "address": address }))
        .collect();
    manifest::node(NODE_NAME, "east").set("status.addresses", addresses)
}

fn balancers(ingress: Value) -> Manifest {
    web().set("status.loadBalancer.ingress", ingress)
}

fn at(ip: &str, port: u16) -> SocketAddr {
    let ip: IpAddr = ip.parse().expect("an address");
    (ip, port).into()
}

fn ask_udp(addr: SocketAddr) -> io::Result<Answer> {
    let any = if addr.is_ipv4() { "0.0.0.0" } else { "::" };
    ask_udp_unconnected(&UdpSocket::bind(at(any, 0))?, addr)
}

/// Who answers at an address, over TCP and over UDP; each time, it must be the address that answers.
fn answering(shop: &Shop, addr: SocketAddr) -> io::Result<[BTreeSet<String>; 2]> {
    let mut names = [const { BTreeSet::new() }; 2];
    shop.client.run(|| {
        for _ in 0..MANY {
            for (names, answer) in names.iter_mut().zip([ask_tcp(addr)?, ask_udp(addr)?]) {
                assert_eq!(answer.peer_seen, addr);
                names.insert(answer.name);
            }
        }
        Ok(names)
    })
}

/// Waits until exactly these answer at an address, over TCP and UDP alike.
#[track_caller]
fn settles(shop: &Shop, addr: SocketAddr, names: &[&str]) {
    let mut last = String::new();
    let expected = [(); 2].map(|()| names.iter().map(|&name| name.to_owned()).collect());
    let settled = until(SOON, || {
        let answering = answering(shop, addr);
        last = format!("{answering:?}");
        answering.is_ok_and(|answering| answering == expected)
    });
    assert!(settled, "{addr}: {last} instead of {names:?}");
}

/// Runs `ip` on the node.
fn ip(shop: &Shop, line: &str) -> Result<()> {
    let output = shop.sandbox.node().command("ip").args(line.split(' ')).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {line}: {said}");
    Ok(())
}

/// Listens on the node itself.
fn serve_on_node(shop: &Shop, addr: SocketAddr) -> Result<(TcpServer, UdpServer)> {
    let node = shop.sandbox.node();
    Ok((
        TcpServer::start(&node, addr, HOST)?,
        UdpServer::start(&node, addr, HOST)?,
    ))
}

fn meshctl(shop: &Shop, line: &str) -> Result<String> {
    let output = shop.sandbox.meshctl(line.split(' '))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "meshctl {line}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The lines of a listing that name `shop/web`, once they are as they should be.
fn listed(shop: &Shop, right: impl Fn(&[String]) -> bool) -> Result<()> {
    let mut lines = Vec::new();
    let shown = until(SOON, || {
        let text = meshctl(shop, "service list -n shop -o wide").unwrap_or_else(|error| error.to_string());
        let words = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines = words.collect();
        right(&lines)
    });
    ensure!(shown, "meshctl shows\n{}", lines.join("\n"));
    Ok(())
}

#[test]
fn node_ports_are_at_the_addresses_of_this_node() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2"];
    let shop = Shop::open("node-ports", &names)?;
    let other = at("10.0.7.7", NODE_PORT);
    let _other_node = shop.underlay(&[other])?;
    let (v4, v6) = (at(NODE_V4, NODE_PORT), at(NODE_V6, NODE_PORT));
    let _hosts = [serve_on_node(&shop, v4)?, serve_on_node(&shop, v6)?];
    let manifests = shop.sandbox.manifests();
    manifests.apply(&manifest::node("node-2", "east").set(
        "status.addresses",
        json!([{ "type": "InternalIP", "address": "10.0.7.7" }]),
    ))?;
    shop.sell_as(&web(), "web", &ports(), &names)?;
    let _agent = shop.start()?;
    // Whose addresses the node has is for its Node to say.
    settles(&shop, v4, &[HOST]);
    manifests.apply(&node(&[NODE_V4, NODE_V6]))?;
    settles(&shop, v4, &names);
    settles(&shop, v6, &names);
    settles(&shop, other, &[UNTOUCHED]);
    listed(&shop, |lines| {
        let both = |words: &str| lines.iter().filter(|line| line.contains(words)).count() == 2;
        let typed = lines.iter().all(|line| line.ends_with(" NodePort,ClusterIP"));
        both("10.0.0.1:30080,10.96.0.10:80 random") && typed
    })?;
    let shown = meshctl(&shop, "service show shop/web")?;
    for words in [
        "Frontends:    10.0.0.1:30080 (NodePort), 10.96.0.10:80 (ClusterIP)",
        "AppProtocol:  example.org/greeting",
        "Policy:       Cluster",
    ] {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    manifests.apply(&node(&[NODE_V6]))?;
    settles(&shop, v4, &[HOST]);
    settles(&shop, v6, &names);
    settles(&shop, vips(10, 80)[0], &names);
    Ok(())
}

#[test]
fn outside_addresses_lead_to_all_endpoints_whatever_the_policies() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2"];
    let shop = Shop::open("outside", &names)?;
    let manifests = shop.sandbox.manifests();
    manifests.apply(&node(&[NODE_V4]))?;
    let endpoint = |name: &str, node: &str| {
        Endpoint::ready(shop.backend(name).v4())
            .of(NAMESPACE, name)
            .node(node)
    };
    let staff = |endpoints: &[Endpoint]| {
        let slice = manifest::endpoint_slice(NAMESPACE, "web", "web-a", &ports(), endpoints);
        manifests.apply(&slice)
    };
    staff(&[endpoint("web-1", NODE_NAME), endpoint("web-2", "node-2")])?;
    let service =
        balancers(json!([{ "ip": "203.0.113.2", "ipMode": "VIP" }, { "hostname": "lb.example.org" }]));
    let service = service.set("spec.externalIPs", json!(["203.0.113.1"]));
    let local = service
        .clone()
        .set("spec.internalTrafficPolicy", "Local")
        .set("spec.externalTrafficPolicy", "Local");
    manifests.apply(&local)?;
    let agent = shop.start()?;
    let cluster_ip = vips(10, 80)[0];
    let outside = [
        at("203.0.113.1", 80),
        at("203.0.113.2", 80),
        at(NODE_V4, NODE_PORT),
    ];
    settles(&shop, cluster_ip, &["web-1"]);
    for addr in outside {
        settles(&shop, addr, &names);
    }
    let unused = meshctl(&shop, "service show shop/web")?;
    let here_only = format!("{} {PORT} shop/web-2 on another node", shop.backend("web-2").v4());
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        words(&unused).matches(&here_only).count(),
        2,
        "over TCP and UDP:\n{unused}"
    );
    // Nobody here: the cluster IP refuses at once, and says so; the others go on.
    staff(&[endpoint("web-2", "node-2")])?;
    for addr in outside {
        settles(&shop, addr, &["web-2"]);
    }
    let refused = || -> Result<u64> {
        let labels = [("verdict", "refused"), ("reason", "no_endpoint")];
        Ok(metrics::sum(&agent.metrics()?, "mesh_verdicts_total", &labels))
    };
    let before = refused()?;
    let (error, took) = shop.client.run(|| {
        let started = Instant::now();
        (ask_tcp(cluster_ip).map(|answer| answer.name), started.elapsed())
    });
    assert_eq!(
        error.map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionRefused)
    );
    assert!(took < patient(AT_ONCE), "took {took:?}");
    assert!(
        until(SOON, || refused().is_ok_and(|now| now > before)),
        "it is not counted"
    );
    // The policy goes: one and the same again.
    manifests.apply(&service)?;
    for addr in outside.into_iter().chain([cluster_ip]) {
        settles(&shop, addr, &["web-2"]);
    }
    let balanced = |policy: &str, lines: usize| {
        let shown = meshctl(&shop, "service show shop/web")?;
        ensure!(shown.matches(policy).count() == lines, "{shown}");
        Ok(())
    };
    // Both protocols, IPv4 and IPv6.
    harness::eventually(SOON, || balanced("Policy:       Cluster", 4))?;
    manifests.apply(&local)?;
    harness::eventually(SOON, || balanced("Policy:       Local", 4))?;
    harness::eventually(SOON, || balanced("Policy:       Cluster", 2))
}

#[test]
fn balancers_that_filter_or_proxy_are_left_alone() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2"];
    let shop = Shop::open("balancers", &names)?;
    let (direct, proxy) = (at("203.0.113.1", 80), at("203.0.113.2", 80));
    let _underlay = shop.underlay(&[direct, proxy])?;
    let manifests = shop.sandbox.manifests();
    let service = balancers(json!([{ "ip": "203.0.113.1" }, { "ip": "203.0.113.2", "ipMode": "Proxy" }]));
    shop.sell_as(&service, "web", &ports(), &names)?;
    let _agent = shop.start()?;
    settles(&shop, direct, &names);
    settles(&shop, proxy, &[UNTOUCHED]);
    let filtered = service
        .clone()
        .set("spec.loadBalancerSourceRanges", json!(["192.0.2.0/24"]));
    manifests.apply(&filtered)?;
    settles(&shop, direct, &[UNTOUCHED]);
    settles(&shop, vips(10, 80)[0], &names);
    listed(&shop, |lines| {
        let has = |words: &str| lines.iter().filter(|line| line.contains(words)).count() == 2;
        has("203.0.113.1:80 untouched: loadBalancerSourceRanges")
            && has("203.0.113.2:80 untouched: ipMode Proxy")
    })?;
    manifests.apply(&service)?;
    settles(&shop, direct, &names);
    Ok(())
}

#[test]
fn a_listener_of_the_host_at_a_cluster_ip_is_reached() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2"];
    let shop = Shop::open("nodelocal", &names)?;
    shop.sell_as(&web(), "web", &ports(), &names)?;
    shop.sell("other", 20, &ports(), &names)?;
    let mut agent = shop.start()?;
    let [v4, v6] = vips(10, 80);
    settles(&shop, v4, &names);
    settles(&shop, v6, &names);

    // As NodeLocal DNSCache does: the address on an interface of its own (a bridge here, since not every kernel has
    // dummies), and a listener.
    ip(&shop, "link add nodelocaldns type bridge")?;
    ip(&shop, &format!("addr add {}/32 dev nodelocaldns", v4.ip()))?;
    ip(&shop, &format!("addr add {}/128 dev nodelocaldns nodad", v6.ip()))?;
    let hosts = [serve_on_node(&shop, v4)?, serve_on_node(&shop, v6)?];
    ip(&shop, "link set nodelocaldns up")?;
    settles(&shop, v4, &[HOST]);
    settles(&shop, v6, &[HOST]);
    settles(&shop, vips(20, 80)[0], &names);
    let untouched = |lines: &[String]| {
        lines
            .iter()
            .filter(|line| line.contains("untouched: address of the host"))
            .count()
            == 4
    };
    listed(&shop, untouched)?;
    let shown = meshctl(&shop, "service show shop/web")?;
    assert_eq!(
        shown.matches("address of the host: left to the host").count(),
        4,
        "{shown}"
    );
    assert!(meshctl(&shop, "diff").is_ok());

    // The next agent knows from its start.
    agent.kill9()?;
    agent.restart()?;
    for _ in 0..10 {
        let answer = shop.client.run(|| ask_tcp(v4)).context("right after the start")?;
        assert_eq!(answer.name, HOST);
    }

    drop(hosts);
    ip(&shop, "link del nodelocaldns")?;
    settles(&shop, v4, &names);
    settles(&shop, v6, &names);
    listed(&shop, |lines| {
        lines.iter().all(|line| !line.contains("untouched"))
    })
}

#[test]
fn addresses_that_ipvs_holds_are_balanced() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2"];
    let shop = Shop::open("ipvs", &names)?;
    shop.sell_as(&web(), "web", &ports(), &names)?;
    shop.sell("marker", 20, &ports(), &names)?;
    let [v4, v6] = vips(10, 80);
    let _hosts = {
        ip(&shop, "link add kube-ipvs0 type bridge")?;
        ip(&shop, &format!("addr add {}/32 dev kube-ipvs0", v4.ip()))?;
        ip(&shop, &format!("addr add {}/128 dev kube-ipvs0 nodad", v6.ip()))?;
        [serve_on_node(&shop, v4)?, serve_on_node(&shop, v6)?]
    };
    let _agent = shop.start()?;
    settles(&shop, v4, &names);
    settles(&shop, v6, &names);
    // A change of addresses is seen, and makes no difference to these.
    let marker = vips(20, 80)[0];
    ip(&shop, "link add mine type bridge")?;
    ip(&shop, &format!("addr add {}/32 dev mine", marker.ip()))?;
    let _host = serve_on_node(&shop, marker)?;
    settles(&shop, marker, &[HOST]);
    settles(&shop, v4, &names);
    Ok(())
}

//! Names: dnsmasq behind a service, asked by dig and by glibc, over UDP and TCP.

use std::collections::BTreeSet;

use anyhow::Result;
use harness::manifest::Port;
use harness::scene::{Shop, vips};
use harness::{Pod, Program, metrics, require, require_root, server};

use crate::carried::{self, Carried};
use crate::output;

const NAME: &str = "web.shop.svc.cluster.local";
const DNS: u16 = 5300;
const SERVERS: [&str; 2] = ["dns-1", "dns-2"];

fn start_dnsmasq(pod: &Pod) -> Result<Program> {
    let dnsmasq = pod
        .command("dnsmasq")
        .args(["--keep-in-foreground", "--user=root"]);
    let dnsmasq = dnsmasq.args(["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file"]);
    let dnsmasq = dnsmasq.args([
        &format!("--port={DNS}"),
        &format!("--host-record={NAME},192.0.2.10,2001:db8::10"),
        &format!("--txt-record=who.shop,{}", pod.name()),
        "--local=/shop.svc.cluster.local/",
    ]);
    server::start(pod, dnsmasq, DNS)
}

fn dns(test_name: &str) -> Result<(Shop, [Program; 2])> {
    let shop = crate::open(test_name, &SERVERS)?;
    let ports = [
        Port::udp(53).to(DNS).named("dns"),
        Port::tcp(53).to(DNS).named("dns-tcp"),
    ];
    shop.sell("dns", 53, &ports, &SERVERS)?;
    let start = |name| start_dnsmasq(shop.backend(name));
    let servers = [start("dns-1")?, start("dns-2")?];
    Ok((shop, servers))
}

#[test]
fn dig_asks_dnsmasq() -> Result<()> {
    const ROUNDS: u64 = 12;
    require_root!();
    require!(harness::require::programs(&["dnsmasq", "dig"]));
    let (shop, _servers) = dns("dnsmasq")?;
    let agent = shop.start()?;
    let dig = |args: &[&str]| {
        let dig = shop.client.command("dig").args(["+short", "+tries=1", "+time=2"]);
        // It says on standard output when an answer comes from elsewhere.
        output::of(dig.args(args))
    };
    for vip in vips(53, 53) {
        let server = format!("@{}", vip.ip());
        for transport in ["+notcp", "+tcp"] {
            let ask = |kind, name| dig(&[&server, transport, kind, name]);
            assert_eq!(ask("A", NAME)?, "192.0.2.10\n");
            assert_eq!(ask("AAAA", NAME)?, "2001:db8::10\n");
            assert_eq!(ask("A", "nobody.shop.svc.cluster.local")?, "");
            let mut who = BTreeSet::new();
            for _ in 0..ROUNDS {
                who.insert(ask("TXT", "who.shop")?.replace(['"', '\n'], ""));
            }
            assert!(who.iter().eq(SERVERS.iter()), "{transport}: {who:?}");
        }
    }
    let least = Carried {
        connections: 2 * (ROUNDS + 3),
        up: 2 * (ROUNDS + 3) * 20,
        down: 2 * (ROUNDS + 3) * 20,
    };
    carried::at_least(&agent, "dns", &SERVERS, least)?;
    let text = agent.metrics()?;
    for name in SERVERS {
        let labels = [("pod", "client"), ("peer_pod", name), ("service", "dns")];
        let direction = |direction| {
            let labels = [&labels[..], &[("direction", direction)]].concat();
            metrics::sum(&text, "mesh_udp_datagrams_total", &labels)
        };
        let (sent, received) = (direction("sent"), direction("received"));
        assert!(sent > 0 && sent == received, "{name}: {sent} and {received}");
    }
    carried::none_lives(&shop)
}

#[test]
fn glibc_asks_dnsmasq() -> Result<()> {
    require_root!();
    require!(harness::require::programs(&["dnsmasq", "getent"]));
    let (shop, _servers) = dns("dnsmasq-glibc")?;
    let _agent = shop.start()?;
    for vip in vips(53, 53) {
        for options in ["", "use-vc"] {
            let getent = shop.client.command("getent").args(["ahosts", NAME]);
            let getent = getent.nameservers(&[vip.ip()]).env("RES_OPTIONS", options);
            let text = output::of(getent)?;
            assert!(
                text.contains("192.0.2.10") && text.contains("2001:db8::10"),
                "{options}: {text}"
            );
        }
    }
    Ok(())
}

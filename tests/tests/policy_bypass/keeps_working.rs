//! What goes on working where everything is denied.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::craft::{self, Ear};
use harness::probe::{Number, Outcome, Prober, Protocol};
use harness::{Place, Pod, Program, require, require_root, server};
use serde_json::{Value, json};
use socket2::Domain;

use crate::town::{Town, at, run};

/// Neither in nor out, for all pods.
fn nothing() -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
}

/// Neither in nor out, but for questions to name servers.
fn names_only() -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "egress": [{"ports": [{"port": 5300, "protocol": "UDP"}, {"port": 53, "protocol": "UDP"}]}]})
}

const NAME: &str = "web.shop.example";

/// Out of the mesh, at both families.
fn dnsmasq(pod: &Pod, port: u16) -> Result<Program> {
    let dnsmasq = pod
        .command("dnsmasq")
        .args(["--keep-in-foreground", "--user=root"]);
    let dnsmasq = dnsmasq.args(["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file"]);
    let dnsmasq = dnsmasq.arg(format!("--port={port}"));
    let record = format!("--host-record={NAME},192.0.2.10,2001:db8::10");
    server::start(pod, dnsmasq.args([&record, "--local=/shop.example/"]), port)
}

/// dig asks from a socket that is not connected, glibc from one that is.
#[test]
fn names_are_resolved() -> Result<()> {
    require_root!();
    require!(harness::require::programs(&["dnsmasq", "dig", "getent"]));
    let names_only = names_only();
    let town = Town::guarded("names", &[("shop/p", &names_only)])?;
    let dns = town.sandbox.pod("dns", &["10.0.8.8", "fd00::8:8"])?;
    let _dnsmasq = dnsmasq(&dns, 53)?;
    let client = town.client.place();
    for ip in dns.ips() {
        for _ in 0..10 {
            let answer = run(
                client,
                &format!("dig +short +tries=1 +time=2 +notcp @{ip} A {NAME}"),
            )?;
            assert_eq!(answer, "192.0.2.10\n");
            let getent = town.client.command("getent").args(["ahosts", NAME]);
            let output = getent.nameservers(&[*ip]).output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(
                text.contains("192.0.2.10") && text.contains("2001:db8::10"),
                "{output:?}"
            );
        }
    }
    // Nothing else is open to who serves the names.
    let to = SocketAddr::new(dns.v4(), 53);
    let outcome = town.counted(|| Ok(town.attempt(client, Protocol::Tcp, to)))?;
    ensure!(outcome == Outcome::Refused, "{outcome}");
    Ok(())
}

/// Probes of the kubelet, which is in a cgroup below the mesh's as everything on a node is.
#[test]
fn this_host_reaches_its_pods() -> Result<()> {
    require_root!();
    let nothing = nothing();
    let town = Town::guarded("probes", &[("shop/p", &nothing)])?;
    let place = town.sandbox.outside_pod();
    for to in at(&town.server, 80).into_iter().chain(at(&town.client, 81)) {
        for protocol in Protocol::ALL {
            for _ in 0..20 {
                Town::passes(place, protocol, to)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_pod_reaches_itself() -> Result<()> {
    require_root!();
    let nothing = nothing();
    let town = Town::guarded("itself", &[("shop/p", &nothing)])?;
    let loopback: [IpAddr; 2] = ["127.0.0.1".parse()?, "::1".parse()?];
    let _prober = Prober::start(town.client.place(), &loopback, &[80, 81])?;
    let own = town.client.ips().iter().chain(&loopback);
    for ip in own {
        for protocol in Protocol::ALL {
            for port in [80, 81] {
                Town::passes(town.client.place(), protocol, SocketAddr::new(*ip, port))?;
            }
        }
    }
    ensure!(town.denials()? == 0, "something was counted as denied");
    Ok(())
}

/// A pod that may send nothing answers who may ask it; one that may be asked nothing gets its answers.
#[test]
fn answers_pass() -> Result<()> {
    require_root!();
    let silent = json!({"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Egress"]});
    let deaf = json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Ingress"]});
    let town = Town::guarded("answers", &[("shop/silent", &silent), ("shop/deaf", &deaf)])?;
    for to in at(&town.server, 80).into_iter().chain(at(&town.server, 81)) {
        for protocol in Protocol::ALL {
            Town::passes(town.client.place(), protocol, to)?;
            Town::passes(&town.stranger.unenrolled(), protocol, to)?;
        }
    }
    for to in at(&town.stranger, 80) {
        for protocol in Protocol::ALL {
            Town::passes(town.client.place(), protocol, to)?;
        }
    }
    // Both are as isolated as they should be.
    for (from, to) in [
        (&town.server, &town.client),
        (&town.server, &town.friend),
        (&town.friend, &town.client),
    ] {
        let outcome = town.counted(|| Ok(town.attempt(from.place(), Protocol::Tcp, at(to, 80)[0])))?;
        ensure!(
            outcome == Outcome::Refused,
            "{} to {}: {outcome}",
            from.name(),
            to.name()
        );
    }
    Ok(())
}

/// Whether an echo comes back.
fn ping(from: &Place, to: IpAddr) -> Result<bool> {
    let number = Number::next();
    let (protocol, answer) = if to.is_ipv4() {
        (craft::ICMP, 0)
    } else {
        (craft::ICMP6, 129)
    };
    let domain = Domain::for_address(SocketAddr::new(to, 0));
    let ear = Ear::open(from, domain, protocol)?;
    let message = craft::echo(to, &number.bytes());
    from.run(|| craft::raw(domain, protocol)?.send_to(&message, SocketAddr::new(to, 0)))?;
    let header = if to.is_ipv4() { 20 } else { 0 };
    Ok(ear.hears_any(Duration::from_secs(2), |packet| {
        packet.get(header) == Some(&answer) && packet.windows(4).any(|it| it == number.bytes())
    }))
}

#[test]
fn echoes_come_back() -> Result<()> {
    require_root!();
    let nothing = nothing();
    let town = Town::guarded("echoes", &[("shop/p", &nothing)])?;
    let stranger = town.stranger.unenrolled();
    for family in [0, 1] {
        let [server, outside] = [&town.server, &town.stranger].map(|pod| at(pod, 0)[family].ip());
        ensure!(ping(town.client.place(), server)?, "from pod to pod");
        ensure!(ping(town.client.place(), outside)?, "from a pod to outside");
        ensure!(ping(&stranger, server)?, "from outside to a pod");
        ensure!(ping(&town.sandbox.node(), server)?, "from the node to a pod");
    }
    // And nothing but echoes: the same socket for all else is of no use.
    let outcome = town.attempt(&stranger, Protocol::Udp, at(&town.server, 80)[0]);
    ensure!(outcome == Outcome::Silent, "{outcome}");
    Ok(())
}

//! Services over TCP: balanced, refused, hidden behind their address.

use std::{io, net::SocketAddr, time::Duration};

use harness::{
    Sandbox,
    manifest::{self, Port},
    patient, require_root,
    spread::Spread,
    traffic,
};

const VIP: &str = "10.96.0.10:80";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A client and two backends of `shop/web`, all in the mesh.
fn shop(sandbox: &Sandbox) -> anyhow::Result<(harness::Pod, Vec<traffic::TcpServer>)> {
    let client = sandbox.pod("client", &["10.0.1.1", "fd00::1:1"])?;
    let manifests = sandbox.manifests();
    manifests.apply(&manifest::namespace("shop", true))?;
    manifests.apply(&manifest::pod("shop", "client", &[], client.ips()))?;
    let mut servers = Vec::new();
    for (name, v4, v6) in [
        ("web-1", "10.0.1.11", "fd00::1:11"),
        ("web-2", "10.0.1.12", "fd00::1:12"),
    ] {
        let pod = sandbox.pod(name, &[v4, v6])?;
        manifests.apply(&manifest::pod("shop", name, &[("app", "web")], pod.ips()))?;
        servers.push(pod.serve_tcp(address("[::]:8080"), name)?);
    }
    let vips = ["10.96.0.10".parse()?, "fd00:96::10".parse()?];
    let web = manifest::service("shop", "web", &vips, &[Port::tcp(80).to(8080)], &[("app", "web")]);
    manifests.apply(&web)?;
    Ok((client, servers))
}

#[test]
fn connections_are_spread_evenly() -> anyhow::Result<()> {
    require_root!();
    let sandbox = Sandbox::new("spread")?;
    let (client, _servers) = shop(&sandbox)?;
    let _agent = sandbox.agent().start()?;
    let spread =
        client.run(|| Spread::ask(400, || traffic::ask_tcp(address(VIP)).map(|answer| answer.name)))?;
    spread.assert_even(&["web-1", "web-2"]);
    Ok(())
}

#[test]
fn the_application_sees_what_it_dialled_and_the_server_the_real_client() -> anyhow::Result<()> {
    require_root!();
    let sandbox = Sandbox::new("names")?;
    let (client, _servers) = shop(&sandbox)?;
    let _agent = sandbox.agent().start()?;
    for (vip, source) in [(VIP, "10.0.1.1"), ("[fd00:96::10]:80", "fd00::1:1")] {
        let answer = client.run(|| traffic::ask_tcp(address(vip)))?;
        assert_eq!(answer.peer_seen, address(vip));
        assert_eq!(
            answer.client_seen.ip().to_canonical(),
            source.parse::<std::net::IpAddr>()?
        );
    }
    Ok(())
}

#[test]
fn a_service_without_endpoints_refuses_at_once() -> anyhow::Result<()> {
    require_root!();
    let sandbox = Sandbox::new("refuse")?;
    let (client, _servers) = shop(&sandbox)?;
    let none = manifest::service(
        "shop",
        "none",
        &["10.96.0.11".parse()?],
        &[Port::tcp(80)],
        &[("app", "nobody")],
    );
    sandbox.manifests().apply(&none)?;
    let _agent = sandbox.agent().start()?;
    let started = std::time::Instant::now();
    let error = client
        .run(|| traffic::ask_tcp(address("10.96.0.11:80")))
        .expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let took = started.elapsed();
    assert!(took < patient(Duration::from_millis(50)), "took {took:?}");
    Ok(())
}

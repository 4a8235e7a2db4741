//! Network policies, from manifests to the answer a caller gets.

use std::io::ErrorKind;
use std::net::{TcpStream, UdpSocket};

use anyhow::{Result, ensure};
use harness::manifest::{self, Manifest};
use std::time::Duration;

use harness::{Sandbox, until};
use serde_json::json;

fn egress_to_nobody(name: &str) -> Manifest {
    Manifest::new("networking.k8s.io/v1", "NetworkPolicy", Some("shop"), name).set(
        "spec",
        json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"]}),
    )
}

#[test]
fn a_caller_is_refused_at_once() -> Result<()> {
    let sandbox = Sandbox::new("policy-egress")?;
    let client = sandbox.pod("client", &["10.0.1.1"])?;
    let server = sandbox.pod("server", &["10.0.1.2"])?;
    let manifests = sandbox.manifests();
    manifests.apply(&manifest::namespace("shop", true))?;
    for pod in [&client, &server] {
        manifests.apply(&manifest::pod_of("shop", pod, &[("app", pod.name())]))?;
    }
    let agent = sandbox.agent().start()?;
    let listener = server.run(|| std::net::TcpListener::bind("10.0.1.2:80"))?;
    client.run(|| TcpStream::connect("10.0.1.2:80"))?;
    manifests.apply(&egress_to_nobody("none"))?;
    ensure!(until(Duration::from_secs(5), || {
        let refused = client.run(|| TcpStream::connect("10.0.1.2:80"));
        refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }));
    let sent = client.run(|| UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", "10.0.1.2:53"));
    ensure!(sent.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
    manifests.delete(&egress_to_nobody("none"))?;
    ensure!(until(Duration::from_secs(5), || client
        .run(|| TcpStream::connect("10.0.1.2:80"))
        .is_ok()));
    drop((listener, agent));
    Ok(())
}

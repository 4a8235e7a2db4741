//! Pods that ask for the mesh and are not in it: their sockets are left alone, and the operator is told why.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::Cluster;
use harness::manifest::{self, Manifest};
use harness::{eventually, require_root};
use mesh_common::names::istio;
use serde_json::json;

/// A change, from the server to what the operator is shown.
const SOON: Duration = Duration::from_secs(10);

/// The client's Pod.
fn client(cluster: &Cluster) -> Manifest {
    manifest::pod("shop", "client", &[], cluster.client.ips())
}

/// What `meshctl pod list` says of the client's state, once it does and its connections are as they should be.
fn becomes(cluster: &Cluster, state: &str, balanced: bool) -> Result<()> {
    eventually(SOON, || {
        let list = cluster.meshctl("pod list")?;
        let row = list
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some("client"));
        ensure!(row.is_some_and(|row| row.contains(state)), "{list}");
        let answer = cluster.ask(10);
        ensure!(answer.is_ok() == balanced, "{answer:?}");
        Ok(())
    })
}

#[test]
fn a_pod_of_another_mesh_is_left_alone_until_it_is_ours() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("kept-out")?;
    let web = cluster.backend("web", 11)?;
    cluster.sell("web", 10, &[&web])?;
    let _agent = cluster.agent().start()?;
    becomes(&cluster, "enrolled", true)?;

    let containers =
        |second: &str| json!([{"name": "main", "image": "test"}, {"name": second, "image": "test"}]);
    let native = json!([{"name": "linkerd-proxy", "image": "test", "restartPolicy": "Always"}]);
    for (pod, state) in [
        (
            client(&cluster).set("spec.containers", containers("istio-proxy")),
            "other-mesh (istio-proxy)",
        ),
        (
            client(&cluster).set("spec.initContainers", native),
            "other-mesh (linkerd-proxy)",
        ),
        (
            client(&cluster).annotation(istio::REDIRECTION, "enabled"),
            "other-mesh (ambient)",
        ),
        (
            client(&cluster).set("spec.runtimeClassName", "kata-qemu"),
            "unsupported (kata)",
        ),
    ] {
        cluster.put(&pod)?;
        becomes(&cluster, state, false)?;
        let shown = cluster.meshctl("workload show shop/client")?;
        ensure!(shown.contains(&format!("Enrolled:   no: {state}\n")), "{shown}");
        let status = cluster.meshctl("status")?;
        ensure!(
            status.contains(&format!("\n  shop/client: {state}\n")),
            "{status}"
        );
        ensure!(status.contains("1 enrolled, 0 pending, 1 kept out\n"), "{status}");
        cluster.agrees()?;
        // As any other object it can become what it was.
        cluster.put(&client(&cluster))?;
        becomes(&cluster, "enrolled", true)?;
    }
    Ok(())
}

#[test]
fn istios_label_is_honoured_where_the_operator_wants_it() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("honoured")?;
    let web = cluster.backend("web", 11)?;
    cluster.sell("web", 10, &[&web])?;
    cluster.put(&manifest::namespace("shop", false).label(istio::DATAPLANE_MODE, istio::AMBIENT))?;
    let agent = cluster.agent().start()?;
    ensure!(cluster.ask(10).is_err(), "without the option it says nothing");
    drop(agent);
    let _agent = cluster.agent().arg("--honor-istio-labels").start()?;
    becomes(&cluster, "enrolled", true)?;
    cluster.put(&client(&cluster).label(istio::DATAPLANE_MODE, istio::NONE))?;
    eventually(SOON, || {
        ensure!(cluster.meshctl("pod list -o name")? == "pod/shop/web\n");
        ensure!(cluster.ask(10).is_err());
        Ok(())
    })?;
    // Istio itself has the pod.
    cluster.put(&client(&cluster).annotation(istio::REDIRECTION, "enabled"))?;
    becomes(&cluster, "other-mesh (ambient)", false)
}

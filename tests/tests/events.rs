//! The agent tells operators of pods that are not in the mesh: one Event each, however often it restarts, few at a time,
//! and whatever becomes of them, nothing else waits.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::apiserver::Denial;
use harness::cluster::Cluster;
use harness::manifest::{self, Manifest};
use harness::{eventually, patient, require_root};
use mesh_common::names::event;
use serde_json::{Value, json};

/// As `kubectl` names the resource.
const EVENTS: &str = "events.events.k8s.io";
/// The agent looks every ten seconds, and what may pass by itself twice.
const SOON: Duration = Duration::from_secs(30);

fn sidecar(name: &str, ip: &str) -> Result<Manifest> {
    let containers = json!([{"name": "main", "image": "test"}, {"name": "istio-proxy", "image": "test"}]);
    let pod = manifest::pod("shop", name, &[], &[ip.parse()?]);
    Ok(with_uid(pod, name).set("spec.containers", containers))
}

/// The objects of a real server have one.
fn with_uid(pod: Manifest, name: &str) -> Manifest {
    pod.set("metadata.uid", format!("uid-{name}"))
}

/// The Event about a pod, once there is one with that reason.
fn about(cluster: &Cluster, pod: &str, reason: &str) -> Result<Value> {
    eventually(SOON, || {
        let all = cluster.server.all(EVENTS)?;
        let is_meant = |it: &&Value| it["regarding"]["name"] == pod && it["reason"] == reason;
        let found = all.iter().find(is_meant);
        found
            .cloned()
            .with_context(|| format!("no {reason} about {pod}: {all:?}"))
    })
}

#[test]
fn a_pod_that_is_not_in_the_mesh_has_one_event() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("events")?;
    cluster.put(&sidecar("legacy", "10.0.1.31")?)?;
    cluster.put(&sidecar("elsewhere", "10.0.1.32")?.set("spec.nodeName", "node-2"))?;
    let stranger = with_uid(
        manifest::pod("shop", "stranger", &[], &["10.0.1.33".parse()?]),
        "stranger",
    );
    cluster.put(&stranger.label("mesh-agent.io/dataplane", "maybe"))?;
    let agent = cluster.agent().start()?;
    let told = about(&cluster, "legacy", event::OTHER_MESH)?;
    for (field, expected) in [
        ("/note", "not in the mesh: other-mesh (istio-proxy)"),
        ("/type", "Warning"),
        ("/action", event::ACTION),
        ("/reportingController", event::CONTROLLER),
        ("/reportingInstance", "node-1"),
        ("/metadata/namespace", "shop"),
        ("/regarding/kind", "Pod"),
        ("/regarding/namespace", "shop"),
        ("/regarding/uid", "uid-legacy"),
    ] {
        let found = told.pointer(field).and_then(Value::as_str);
        assert_eq!(found, Some(expected), "{field} of {told}");
    }
    assert!(
        told["eventTime"].is_string() && told["series"].is_null(),
        "{told}"
    );
    about(&cluster, "stranger", event::INVALID_SETTING)?;
    // It has an address that no network namespace has.
    about(&cluster, "stranger", event::NO_NETWORK_NAMESPACE)?;

    // Another agent finds what was told, and counts.
    drop(agent);
    let _agent = cluster.agent().start()?;
    eventually(SOON, || {
        let told = about(&cluster, "legacy", event::OTHER_MESH)?;
        ensure!(told["series"]["count"] == 2, "{told}");
        ensure!(told["series"]["lastObservedTime"].is_string(), "{told}");
        Ok(())
    })?;
    let all = cluster.server.all(EVENTS)?;
    let mut reasons: Vec<_> = all
        .iter()
        .map(|it| format!("{} {}", it["regarding"]["name"], it["reason"]).replace('"', ""))
        .collect();
    reasons.sort();
    let expected = [
        "legacy OtherMesh",
        "stranger InvalidSetting",
        "stranger NoNetworkNamespace",
    ];
    assert_eq!(reasons, expected);
    // What it wrote, and no more.
    for request in cluster.server.requests() {
        let reads = ["list", "watch"].contains(&request.verb.as_str());
        let writes = request.group == "events.k8s.io" && ["create", "patch"].contains(&request.verb.as_str());
        assert!(reads || writes, "{request:?}");
    }
    Ok(())
}

#[test]
fn events_are_written_few_at_a_time() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("events-pace")?;
    let names: Vec<String> = (31..36).map(|host| format!("legacy-{host}")).collect();
    for (name, host) in names.iter().zip(31..) {
        cluster.put(&sidecar(name, &format!("10.0.1.{host}"))?)?;
    }
    let _agent = cluster.agent().start()?;
    for name in &names {
        about(&cluster, name, event::OTHER_MESH)?;
    }
    // A request is noted after it is answered.
    let times = eventually(SOON, || {
        let creates = cluster
            .server
            .requests()
            .into_iter()
            .filter(|it| it.verb == "create");
        let times: Vec<_> = creates.map(|it| it.at).collect();
        ensure!(times.len() >= names.len(), "{times:?}");
        Ok(times)
    })?;
    assert_eq!(times.len(), names.len());
    for pair in times.windows(2) {
        let between = pair[1].duration_since(pair[0]);
        assert!(between > Duration::from_millis(900), "{between:?}");
    }
    Ok(())
}

#[test]
fn nothing_waits_for_events_that_can_not_be_written() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("events-denied")?;
    let web = cluster.backend("web", 11)?;
    cluster.put(&sidecar("legacy", "10.0.1.31")?)?;
    cluster.put(&sidecar("ancient", "10.0.1.32")?)?;
    cluster.server.deny(Denial {
        resource: Some("events".into()),
        ..Denial::default()
    });
    let agent = cluster.agent().start()?;
    eventually(SOON, || {
        let log = agent.log();
        ensure!(
            log.contains("may not create and patch events.events.k8s.io"),
            "{log}"
        );
        Ok(())
    })?;
    cluster.sell("web", 10, &[&web])?;
    eventually(SOON, || {
        ensure!(cluster.ask(10)? == "web");
        Ok(())
    })?;
    std::thread::sleep(patient(Duration::from_secs(3)));
    let refused = cluster
        .server
        .requests()
        .into_iter()
        .filter(|it| it.status == 403);
    assert_eq!(
        refused.count(),
        1,
        "about the other pod, too, nothing is tried for a while"
    );
    let log = agent.log();
    assert_eq!(log.matches("Events can't be written").count(), 1, "{log}");
    Ok(())
}

//! The taint that keeps pods away from a node goes when the agent is ready, and nothing else of the node is touched.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::agent::NODE_NAME;
use harness::apiserver::Match;
use harness::cluster::Cluster;
use harness::{eventually, manifest, patient, require_root};
use mesh_common::names::NOT_READY_TAINT;
use serde_json::{Value, json};

/// The agent looks every ten seconds.
const SOON: Duration = Duration::from_secs(30);

fn taint(key: &str, effect: &str) -> Value {
    json!({"key": key, "effect": effect})
}

/// Writes our node with these taints.
fn put(cluster: &Cluster, taints: &[Value]) -> Result<()> {
    let node = manifest::node(NODE_NAME, "zone-a").set("spec.taints", taints.to_vec());
    cluster.put(&node).map(drop)
}

fn keys(cluster: &Cluster) -> Result<Vec<String>> {
    let node = cluster.server.get("nodes", "", NODE_NAME)?.context("no node")?;
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    Ok(taints
        .iter()
        .map(|it| it["key"].as_str().unwrap_or_default().to_owned())
        .collect())
}

fn become_these(cluster: &Cluster, expected: &[&str]) -> Result<()> {
    eventually(SOON, || {
        let keys = keys(cluster)?;
        ensure!(keys == expected, "{keys:?}");
        Ok(())
    })
}

#[test]
fn the_taint_goes_when_the_agent_is_ready_and_as_often_as_it_comes() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("taint")?;
    let other = taint("example.com/other", "NoSchedule");
    let ours = |effect| taint(NOT_READY_TAINT, effect);
    put(&cluster, &[ours("NoExecute"), other.clone(), ours("NoSchedule")])?;
    // Until everything is known the agent is not ready.
    cluster
        .server
        .refuse(Match::of("list", "services"), 503, None, None);
    let agent = cluster.agent().arg("--remove-taint").launch()?;
    std::thread::sleep(patient(Duration::from_secs(2)));
    assert_eq!(
        keys(&cluster)?,
        [NOT_READY_TAINT, "example.com/other", NOT_READY_TAINT]
    );
    cluster.server.well();
    become_these(&cluster, &["example.com/other"])?;
    eventually(SOON, || {
        ensure!(agent.log().contains("removed from the node"), "{}", agent.log());
        Ok(())
    })?;
    // Somebody puts it on again.
    put(&cluster, &[other, ours("NoSchedule")])?;
    become_these(&cluster, &["example.com/other"])
}

#[test]
fn without_the_option_the_taint_is_nobodys() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("taint-stays")?;
    put(&cluster, &[taint(NOT_READY_TAINT, "NoSchedule")])?;
    let _agent = cluster.agent().start()?;
    std::thread::sleep(patient(Duration::from_secs(2)));
    assert_eq!(keys(&cluster)?, [NOT_READY_TAINT]);
    assert_eq!(cluster.server.count("patch", "nodes"), 0);
    Ok(())
}

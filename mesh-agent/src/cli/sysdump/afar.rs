//! Of other nodes: each agent's pod makes its own, and what only the API server has is put beside it.

use std::io::{self, Write};

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{Api, Error, api::LogParams};
use mesh_common::names::install;
use serde::Serialize;

use super::{Archive, archive_failed};
use crate::cli::{
    failure::Failure,
    remote::{self, Agent, Cluster},
};

/// Lines of a log that are taken, the latest.
const LINES: i64 = 100_000;

/// Writes what is to be seen of some nodes; whether anything of any could be had.
pub async fn write<W: Write>(
    cluster: &Cluster,
    nodes: &[String],
    archive: &mut Archive<W>,
) -> Result<(), Failure> {
    for node in nodes {
        eprintln!("meshctl: node {node}");
        of_node(cluster, node, archive)
            .await
            .map_err(|error| archive_failed(&error))?;
    }
    let api: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let daemon_set = api.get(install::AGENT).await.map(|mut set| {
        set.metadata.managed_fields = None;
        set
    });
    let daemon_set = shown(cluster, daemon_set, "getting the DaemonSet");
    archive
        .add("daemonset.yaml", daemon_set)
        .map_err(|error| archive_failed(&error))
}

async fn of_node<W: Write>(cluster: &Cluster, node: &str, archive: &mut Archive<W>) -> io::Result<()> {
    let agent = match cluster.agent(node).await {
        Ok(agent) => agent,
        Err(failure) => return archive.add(node, Err::<&[u8], _>(failure.to_string())),
    };
    let command = [remote::COMMAND[0], remote::COMMAND[1], "sysdump", "--file", "-"].map(ToOwned::to_owned);
    let mut inner = Vec::new();
    match remote::exec(cluster, &agent, &command, &mut inner).await {
        Ok(_) if !inner.is_empty() => archive.take_in(node, &inner)?,
        Ok(code) => {
            let why = format!("meshctl in pod {agent} ended with {code} and made nothing");
            archive.add(&format!("{node}/sysdump"), Err::<&[u8], _>(why))?;
        }
        Err(failure) => archive.add(&format!("{node}/sysdump"), Err::<&[u8], _>(failure.to_string()))?,
    }
    of_pod(cluster, &agent, node, archive).await
}

/// What the API server has of an agent's pod.
async fn of_pod<W: Write>(
    cluster: &Cluster,
    agent: &Agent,
    node: &str,
    archive: &mut Archive<W>,
) -> io::Result<()> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &agent.namespace);
    let pod = api.get(&agent.pod).await.map(|mut pod| {
        pod.metadata.managed_fields = None;
        pod
    });
    archive.add(
        &format!("{node}/kubernetes/pod.yaml"),
        shown(cluster, pod, "getting the agent's pod"),
    )?;
    for (name, previous) in [("log.txt", false), ("log-previous.txt", true)] {
        let which = LogParams {
            container: Some(install::AGENT.to_owned()),
            previous,
            tail_lines: Some(LINES),
            timestamps: true,
            ..LogParams::default()
        };
        let log = api.logs(&agent.pod, &which).await;
        let log = log.map_err(|error| {
            cluster
                .refused(&error, "reading the agent's log", "Role")
                .to_string()
        });
        archive.add(&format!("{node}/kubernetes/{name}"), log)?;
    }
    Ok(())
}

fn shown(cluster: &Cluster, object: Result<impl Serialize, Error>, doing: &str) -> Result<String, String> {
    let object = object.map_err(|error| cluster.refused(&error, doing, "Role").to_string())?;
    serde_saphyr::to_string(&object).map_err(|error| error.to_string())
}

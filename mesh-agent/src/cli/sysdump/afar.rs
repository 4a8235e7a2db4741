//! Of other nodes: each agent's pod makes its own, and what only the API server has is put beside it.

use std::{
    io::{self, Write},
    time::Duration,
};

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::{Api, api::LogParams};
use mesh_common::names::install;
use serde::Serialize;
use tokio::time::timeout;

use super::{Archive, archive_failed, bare};
use crate::cli::{
    failure::Failure,
    remote::{self, Agent, Cluster},
};

/// Lines of a log that are taken, the latest.
const LINES: i64 = 100_000;
/// How long one thing of a node may take. A node that hangs is one of the things to be seen, and the others are to be had.
const PATIENCE: Duration = Duration::from_mins(2);

/// Writes what is to be seen of some nodes; whether any of them made a dump.
pub async fn write<W: Write>(
    cluster: &Cluster,
    nodes: &[String],
    archive: &mut Archive<W>,
) -> Result<bool, Failure> {
    let mut any = false;
    for node in nodes {
        eprintln!("meshctl: node {node}");
        any |= of_node(cluster, node, archive)
            .await
            .map_err(|error| archive_failed(&error))?;
    }
    let api: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let doing = "getting the DaemonSet";
    let daemon_set = in_time(PATIENCE, doing, async {
        let set = api.get(install::AGENT).await;
        set.map(bare::daemon_set)
            .map_err(|error| cluster.refused(&error, doing, "Role"))
    });
    archive
        .add("daemonset.yaml", daemon_set.await.and_then(yaml))
        .map_err(|error| archive_failed(&error))?;
    Ok(any)
}

/// Whether the node made a dump.
async fn of_node<W: Write>(cluster: &Cluster, node: &str, archive: &mut Archive<W>) -> io::Result<bool> {
    let agent = match in_time(PATIENCE, "finding the agent", cluster.agent(node)).await {
        Ok(agent) => agent,
        Err(why) => return archive.add(node, Err::<&[u8], _>(why)).map(|()| false),
    };
    let command = [remote::COMMAND[0], remote::COMMAND[1], "sysdump", "--file", "-"].map(ToOwned::to_owned);
    let mut inner = Vec::new();
    let doing = format!("meshctl in pod {agent}");
    let ran = in_time(
        PATIENCE,
        &doing,
        remote::exec(cluster, &agent, &command, &mut inner),
    )
    .await;
    let made = ran.is_ok() && !inner.is_empty();
    match ran {
        Ok(_) if made => archive.take_in(node, &inner)?,
        Ok(code) => {
            let why = format!("{doing} ended with {code} and made nothing");
            archive.add(&format!("{node}/sysdump"), Err::<&[u8], _>(why))?;
        }
        Err(why) => archive.add(&format!("{node}/sysdump"), Err::<&[u8], _>(why))?,
    }
    of_pod(cluster, &agent, node, archive).await?;
    Ok(made)
}

/// What the API server has of an agent's pod.
async fn of_pod<W: Write>(
    cluster: &Cluster,
    agent: &Agent,
    node: &str,
    archive: &mut Archive<W>,
) -> io::Result<()> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &agent.namespace);
    let doing = "getting the agent's pod";
    let pod = in_time(PATIENCE, doing, async {
        let pod = api.get(&agent.pod).await;
        pod.map(bare::pod)
            .map_err(|error| cluster.refused(&error, doing, "Role"))
    });
    archive.add(&format!("{node}/kubernetes/pod.yaml"), pod.await.and_then(yaml))?;
    for (name, previous) in [("log.txt", false), ("log-previous.txt", true)] {
        let which = LogParams {
            container: Some(install::AGENT.to_owned()),
            previous,
            tail_lines: Some(LINES),
            timestamps: true,
            ..LogParams::default()
        };
        let doing = "reading the agent's log";
        let log = in_time(PATIENCE, doing, async {
            let log = api.logs(&agent.pod, &which).await;
            log.map_err(|error| cluster.refused(&error, doing, "Role"))
        });
        archive.add(&format!("{node}/kubernetes/{name}"), log.await)?;
    }
    Ok(())
}

/// What comes of something within a time, or why nothing did.
async fn in_time<T>(
    limit: Duration,
    doing: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, String> {
    match timeout(limit, work).await {
        Ok(done) => done.map_err(|failure| failure.to_string()),
        Err(_) => Err(format!(
            "{doing}: no end within {} s: see whether the node and its kubelet answer",
            limit.as_secs()
        )),
    }
}

fn yaml(object: impl Serialize) -> Result<String, String> {
    serde_saphyr::to_string(&object).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_hangs_is_given_up_and_said() {
        let stuck = in_time(Duration::from_millis(1), "waiting", pending::<Result<(), _>>()).await;
        assert!(stuck.unwrap_err().starts_with("waiting: no end within"));
        assert_eq!(in_time(PATIENCE, "asking", ready(Ok(1))).await, Ok(1));
        let refused = ready(Err::<(), _>(Failure::failed("forbidden")));
        assert_eq!(
            in_time(PATIENCE, "asking", refused).await,
            Err("forbidden".into())
        );
    }
}

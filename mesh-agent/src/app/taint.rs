//! Takes the taint off the own Node that keeps pods away until the agent is ready. The operator puts it on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use mesh_common::names::NOT_READY_TAINT;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use super::readiness::Readiness;
use crate::{
    model::cluster::Cluster,
    source::kubernetes::{Access, Patch, Resource, Writer, roll},
};

/// Between two attempts, where the right is missing: no pod comes meanwhile.
const LONGEST: Duration = Duration::from_mins(5);

/// Looks after the taint of a node.
pub struct Taint {
    path: String,
    writer: Writer,
    /// How many removals failed in a row.
    failures: Arc<AtomicU32>,
    /// The removal that is on its way, or the pause after one that failed.
    removal: Option<JoinHandle<()>>,
}

impl Taint {
    /// Of the node of that name; nothing is sent yet.
    #[must_use]
    pub fn new(access: Access, node: &str) -> Self {
        Self {
            path: format!("/api/v1/nodes/{node}"),
            writer: Writer::new(access),
            failures: Arc::default(),
            removal: None,
        }
    }

    /// Removes it where it is and the agent is ready; to be called now and then. Where that fails, or somebody puts it
    /// on again (a Node that is registered anew), the next look comes back to it.
    pub fn look(&mut self, cluster: &Cluster, readiness: &Readiness) {
        let on_its_way = self
            .removal
            .as_ref()
            .is_some_and(|removal| !removal.is_finished());
        if on_its_way || cluster.taints().is_empty() || !readiness.pending().is_empty() {
            return;
        }
        let (path, mut writer) = (self.path.clone(), self.writer.clone());
        let (changes, failures) = (changes(cluster.taints()), self.failures.clone());
        self.removal = Some(tokio::spawn(async move {
            match writer.patch::<Value>(&path, Patch::Json, &changes).await {
                Ok(_) => {
                    failures.store(0, Relaxed);
                    tracing::info!(taint = NOT_READY_TAINT, "removed from the node: pods may come");
                }
                Err(failure) => {
                    let why = failure.explain("patch", Resource::Nodes.name(), "the agent's credentials");
                    tracing::warn!(taint = NOT_READY_TAINT, why, "can't be removed from the node yet");
                    let failures = failures.fetch_add(1, Relaxed).saturating_add(1);
                    let pause = failure.pause(failures, LONGEST, roll());
                    sleep(pause.unwrap_or_default()).await;
                }
            }
        }));
    }
}

/// Removes the taints at these places, if ours are still there: taints have no key of their own, and others write them,
/// too. All of it happens, or nothing.
fn changes(places: &[usize]) -> Value {
    let removals = places.iter().rev().flat_map(|place| {
        let path = format!("/spec/taints/{place}");
        [
            json!({ "op": "test", "path": format!("{path}/key"), "value": NOT_READY_TAINT }),
            json!({ "op": "remove", "path": path }),
        ]
    });
    removals.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_is_removed_first_and_only_if_it_is_ours() {
        let test =
            |path: &str| json!({ "op": "test", "path": path, "value": "mesh-agent.io/agent-not-ready" });
        assert_eq!(
            changes(&[0, 2]),
            json!([
                test("/spec/taints/2/key"),
                { "op": "remove", "path": "/spec/taints/2" },
                test("/spec/taints/0/key"),
                { "op": "remove", "path": "/spec/taints/0" },
            ])
        );
    }
}

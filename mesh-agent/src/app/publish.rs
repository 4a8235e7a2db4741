//! Tells telemetry and `meshctl` the names behind the ids.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{engine::Engine, lock::RunDir, names::Names, wire::Wire};
use crate::model::desired::PodKey;
use crate::telemetry::{
    names::{Directory, Interface, Pod, Service},
    task::Telemetry,
};

/// Naming everything may take this part of the agent's time, no more: in a large cluster names lag a little
/// rather than hold up the tables.
const SHARE: u32 = 20;

/// Publishes the names when they changed, as often as their number allows.
pub struct Publisher {
    node: String,
    cgroup: PathBuf,
    telemetry: Telemetry,
    published: Option<u64>,
    not_before: Instant,
}

impl Publisher {
    /// Nothing is published yet.
    #[must_use]
    pub fn new(node: String, cgroup: PathBuf, telemetry: Telemetry) -> Self {
        Self {
            node,
            cgroup,
            telemetry,
            published: None,
            not_before: Instant::now(),
        }
    }

    /// Publishes, if there is something new and it is time; returns when to call again, if so.
    pub fn publish(&mut self, engine: &Engine, wire: Option<&Wire>, run_dir: &RunDir) -> Option<Instant> {
        if self.published == Some(engine.names_version()) {
            return None;
        }
        let started = Instant::now();
        if started < self.not_before {
            return Some(self.not_before);
        }
        self.telemetry.rename(directory(engine, wire));
        if let Err(error) = Names::of(engine, &self.node, &self.cgroup).store(run_dir.path()) {
            let dir = run_dir.path().display();
            tracing::warn!(%dir, %error, "the names can't be stored; meshctl shows ids");
        }
        self.published = Some(engine.names_version());
        let cost: Duration = started.elapsed();
        self.not_before = Instant::now() + cost * SHARE;
        None
    }
}

/// The names for telemetry.
fn directory(engine: &Engine, wire: Option<&Wire>) -> Directory {
    let services = engine.ledger().services().map(|(id, name, key, _)| {
        let (namespace, name) = (name.namespace.clone(), name.name.clone());
        (
            id,
            Service {
                namespace,
                name,
                port: key.port,
            },
        )
    });
    let ends: BTreeMap<&PodKey, u32> = wire
        .into_iter()
        .flat_map(Wire::ends)
        .map(|(&ifindex, key)| (key, ifindex))
        .collect();
    let (mut pods, mut interfaces) = (HashMap::new(), HashMap::new());
    for (id, key) in engine.ledger().workloads() {
        pods.insert(id, Pod::of(key, engine.cluster().pod(key)));
        let netns = engine.assignment().cookies.get(key).copied();
        if let (Some(&ifindex), Some(netns)) = (ends.get(key), netns) {
            interfaces.insert(ifindex, Interface { pod: id, netns });
        }
    }
    Directory {
        pods,
        services: services.collect(),
        interfaces,
    }
}

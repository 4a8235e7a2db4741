//! Tells telemetry and `meshctl` the names behind the ids.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{engine::Engine, lock::RunDir, names::Names, policy, wire::Wire};
use crate::model::desired::PodKey;
use crate::telemetry::{
    names::{Directory, Interface, Pod, Service, Shared, Workload},
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
    let mut objects = Shared::default();
    let services = engine.ledger().services().map(|(id, name, key, _)| {
        let name = objects.share(name.clone());
        (id, Service { name, port: key.port })
    });
    let services = services.collect();
    let ends: BTreeMap<&PodKey, u32> = wire
        .into_iter()
        .flat_map(Wire::ends)
        .map(|(&ifindex, key)| (key, ifindex))
        .collect();
    let mut workloads = Shared::default();
    let (mut pods, mut interfaces) = (HashMap::new(), HashMap::new());
    for (id, key) in engine.ledger().workloads() {
        let workload = workloads.share(Workload::of(key, engine.cluster().pod(key)));
        let name = (*key.object.name).into();
        pods.insert(id, Pod { name, workload });
        let netns = engine.assignment().cookies.get(key).copied();
        if let (Some(&ifindex), Some(netns)) = (ends.get(key), netns) {
            interfaces.insert(ifindex, Interface { pod: id, netns });
        }
    }
    Directory {
        pods,
        services,
        interfaces,
        policy_sets: policy::sets(engine)
            .into_iter()
            .map(|(number, set)| (number, set.policies))
            .collect(),
    }
}

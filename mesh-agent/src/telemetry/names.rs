//! Names for the ids in the kernel, as they are now.

use std::collections::HashMap;

use crate::model::{desired::PodKey, object};

/// A pod, as far as telemetry names it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of what made it (a `Deployment`, a `StatefulSet` ...), or its own where nothing did.
    pub workload: String,
    /// Label `app.kubernetes.io/name`, else `app`; empty where it has neither.
    pub app: String,
    /// Label `app.kubernetes.io/version`, else `version`; empty where it has neither.
    pub version: String,
}

impl Pod {
    /// From what is known of a pod; one that is gone keeps its name.
    #[must_use]
    pub fn of(key: &PodKey, pod: Option<&object::Pod>) -> Self {
        let label = |names: [&str; 2]| {
            let labels = pod.map(|pod| &pod.labels);
            names
                .iter()
                .find_map(|&name| labels?.get(name))
                .cloned()
                .unwrap_or_default()
        };
        Self {
            namespace: key.object.namespace.clone(),
            pod: key.object.name.clone(),
            workload: key.object.name.clone(),
            app: label(["app.kubernetes.io/name", "app"]),
            version: label(["app.kubernetes.io/version", "version"]),
        }
    }
}

/// A service port.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Port number.
    pub port: u16,
}

impl Service {
    /// The name inside the cluster, as Istio's `destination_service` has it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
}

/// A pod's interface.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Interface {
    /// Workload id of the pod.
    pub pod: u32,
    /// Cookie of its network namespace.
    pub netns: u64,
}

/// All names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Directory {
    /// Pods by workload id.
    pub pods: HashMap<u32, Pod>,
    /// Service ports by service id.
    pub services: HashMap<u32, Service>,
    /// Pods of this node by the index of the host end of their interface.
    pub interfaces: HashMap<u32, Interface>,
}

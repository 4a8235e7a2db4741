//! Names for the ids in the kernel, as they are now.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::model::{
    desired::{ObjectName, PodKey},
    object,
};

/// A pod, as far as telemetry names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// Name of the pod.
    pub name: Box<str>,
    /// What it is one of.
    pub workload: Arc<Workload>,
}

/// What a pod is one of, in the words of Istio's standard metrics. All pods of a Deployment share one.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Workload {
    /// Namespace.
    pub namespace: String,
    /// Name of what made the pod (a `Deployment`, a `StatefulSet` ...), or its own where nothing did.
    pub name: String,
    /// Label `app`, else the canonical service.
    pub app: String,
    /// Label `version`, else the canonical revision.
    pub version: String,
    /// Label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, else `app`, else the name.
    pub canonical_service: String,
    /// Label `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, else `version`, else
    /// `latest`.
    pub canonical_revision: String,
}

const CANONICAL_SERVICE: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
const CANONICAL_REVISION: [&str; 3] = [
    "service.istio.io/canonical-revision",
    "app.kubernetes.io/version",
    "version",
];
/// Istio's canonical revision of a pod without any label that says it.
const LATEST: &str = "latest";

impl Workload {
    /// From what is known of a pod; one that is gone keeps its name.
    #[must_use]
    pub fn of(key: &PodKey, pod: Option<&object::Pod>) -> Self {
        let ObjectName { namespace, name } = &key.object;
        let workload = pod.map_or(&**name, |pod| pod.workload.resolve(name));
        let label = |names: &[&str]| {
            let labels = &pod?.labels;
            let mut values = names.iter().filter_map(|&name| labels.get(name));
            values.find(|value| !value.is_empty())
        };
        let service = label(&CANONICAL_SERVICE).unwrap_or(workload);
        let revision = label(&CANONICAL_REVISION).unwrap_or(LATEST);
        Self {
            namespace: namespace.to_string(),
            name: workload.to_owned(),
            app: label(&["app"]).unwrap_or(service).to_owned(),
            version: label(&["version"]).unwrap_or(revision).to_owned(),
            canonical_service: service.to_owned(),
            canonical_revision: revision.to_owned(),
        }
    }
}

/// A service port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// The service; its ports share one.
    pub name: Arc<ObjectName>,
    /// Port number.
    pub port: u16,
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
    /// The policies behind each rule set in the kernel, as `namespace/name`.
    pub policy_sets: HashMap<u32, Vec<String>>,
}

impl Directory {
    /// The pod with a workload id.
    #[must_use]
    pub fn pod_name(&self, id: u32) -> Option<ObjectName> {
        let pod = self.pods.get(&id)?;
        Some(ObjectName::new(pod.workload.namespace.as_str(), &*pod.name))
    }

    /// Everything that has a name now.
    #[must_use]
    pub fn present(&self) -> Present<'_> {
        let pods = self.pods.values();
        Present {
            workloads: pods.clone().map(|pod| &*pod.workload).collect(),
            pods: pods
                .map(|pod| (pod.workload.namespace.as_str(), &*pod.name))
                .collect(),
            services: self.services.values().map(|service| &*service.name).collect(),
        }
    }
}

/// What is there.
#[derive(Debug)]
pub struct Present<'a> {
    workloads: HashSet<&'a Workload>,
    pods: HashSet<(&'a str, &'a str)>,
    services: HashSet<&'a ObjectName>,
}

impl Present<'_> {
    /// Whether some pod is one of it; what is not known is no less there than before.
    #[must_use]
    pub fn has_workload(&self, workload: Option<&Workload>) -> bool {
        workload.is_none_or(|workload| self.workloads.contains(workload))
    }

    /// Whether there is such a pod.
    #[must_use]
    pub fn has_pod(&self, pod: Option<&ObjectName>) -> bool {
        pod.is_none_or(|pod| self.pods.contains(&(&*pod.namespace, &*pod.name)))
    }

    /// Whether there is such a service.
    #[must_use]
    pub fn has_service(&self, service: Option<&ObjectName>) -> bool {
        service.is_none_or(|service| self.services.contains(service))
    }
}

/// Things that many share, each once.
#[derive(Debug)]
pub struct Shared<T>(HashSet<Arc<T>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + std::hash::Hash> Shared<T> {
    /// The one that equals it.
    pub fn share(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.0.get(&value) {
            return known.clone();
        }
        let value = Arc::new(value);
        self.0.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(labels: &[(&str, &str)]) -> Workload {
        let labels: HashMap<_, _> = labels.iter().copied().collect();
        let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
            "metadata": {
                "namespace": "shop",
                "name": "web-6c-x",
                "labels": labels,
                "ownerReferences": [
                    { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6c", "uid": "u", "controller": true },
                ],
            },
        }))
        .unwrap();
        let pod = object::Pod::try_from(pod).unwrap();
        Workload::of(&pod.key, Some(&pod))
    }

    #[test]
    fn labels_have_istios_meaning() {
        let hash = ("pod-template-hash", "6c");
        for (labels, app, version, service, revision) in [
            (&[hash][..], "web", "latest", "web", "latest"),
            (&[hash, ("app", "a"), ("version", "v1")], "a", "v1", "a", "v1"),
            (
                &[
                    ("app.kubernetes.io/name", "n"),
                    ("app.kubernetes.io/version", "2"),
                ],
                "n",
                "2",
                "n",
                "2",
            ),
            (
                &[
                    ("app", "a"),
                    ("app.kubernetes.io/name", "n"),
                    ("version", "v1"),
                    ("app.kubernetes.io/version", "2"),
                ],
                "a",
                "v1",
                "n",
                "2",
            ),
            (
                &[
                    ("service.istio.io/canonical-name", "c"),
                    ("app.kubernetes.io/name", "n"),
                    ("service.istio.io/canonical-revision", "r"),
                    ("version", ""),
                ],
                "c",
                "r",
                "c",
                "r",
            ),
        ] {
            let workload = workload(labels);
            let found = [
                &workload.app,
                &workload.version,
                &workload.canonical_service,
                &workload.canonical_revision,
            ];
            assert_eq!(found, [app, version, service, revision], "{labels:?}");
        }
        assert_eq!(workload(&[hash]).name, "web");
        assert_eq!(workload(&[]).name, "web-6c");
    }

    #[test]
    fn a_pod_that_is_gone_keeps_its_name() {
        let key = PodKey {
            object: ObjectName::new("shop", "web-6c-x"),
            uid: "".into(),
        };
        let workload = Workload::of(&key, None);
        assert_eq!(
            (workload.namespace.as_str(), workload.name.as_str()),
            ("shop", "web-6c-x")
        );
    }

    #[test]
    fn equal_things_are_shared() {
        let mut shared = Shared::default();
        let one = shared.share(workload(&[]));
        assert!(Arc::ptr_eq(&one, &shared.share(workload(&[]))));
    }
}

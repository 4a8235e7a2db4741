//! What made a pod, by name: a Deployment, a `StatefulSet`, a `CronJob` ...
//!
//! The pod names its direct owner only. The rest is in the names that Kubernetes' controllers give, and is read
//! from them as Istio does (`pkg/kube/util.go`, `GetWorkloadMetaFromPod`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Label of a pod that names its workload, over everything else.
const WORKLOAD_NAME: &str = "service.istio.io/workload-name";
/// Labels that hold the hash which ends the name of a `ReplicaSet`: of a Deployment, and of an Argo Rollout.
const HASHES: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];
/// Label of the pods of an `OpenShift` `DeploymentConfig`: its name.
const DEPLOYMENT_CONFIG: &str = "deploymentconfig";
/// Kubernetes' own makers of pods; any other one counts where it left the pod's name to the API server.
const MAKERS: [&str; 5] = [
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
    "DaemonSet",
    "Job",
];

/// The name of what made a pod. Mostly the pod's own name starts with it, and then it is not kept twice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WorkloadName {
    /// That many bytes of the pod's name.
    Start(u8),
    /// Something else.
    Other(Box<str>),
}

impl WorkloadName {
    /// From what a pod says of itself.
    #[must_use]
    pub fn of(metadata: &ObjectMeta, labels: &BTreeMap<String, String>) -> Self {
        let pod = metadata.name.as_deref().unwrap_or_default();
        Self::new(workload(metadata, labels).unwrap_or(pod), pod)
    }

    fn new(name: &str, pod: &str) -> Self {
        match u8::try_from(name.len()) {
            Ok(len) if pod.starts_with(name) => Self::Start(len),
            _ => Self::Other(name.into()),
        }
    }

    /// The name, given the pod's.
    #[must_use]
    pub fn resolve<'a>(&'a self, pod: &'a str) -> &'a str {
        match self {
            Self::Start(len) => pod.get(..usize::from(*len)).unwrap_or(pod),
            Self::Other(name) => name,
        }
    }
}

/// The name of the workload; `None` for a pod that nothing made.
fn workload<'a>(metadata: &'a ObjectMeta, labels: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let label = |key: &str| {
        labels
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    if let Some(name) = label(WORKLOAD_NAME) {
        return Some(name);
    }
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    let named_by_server = metadata
        .generate_name
        .as_deref()
        .is_some_and(|name| !name.is_empty());
    if !named_by_server && !MAKERS.contains(&owner.kind.as_str()) {
        return None;
    }
    let name = Some(owner.name.as_str()).filter(|name| !name.is_empty())?;
    Some(match owner.kind.as_str() {
        "ReplicaSet" => {
            let mut hashes = HASHES.into_iter().filter_map(label);
            hashes.find_map(|hash| before(name, hash)).unwrap_or(name)
        }
        "ReplicationController" => label(DEPLOYMENT_CONFIG).unwrap_or(name),
        "Job" => cron_job(name).unwrap_or(name),
        _ => name,
    })
}

/// What stands before `-suffix`.
fn before<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    name.strip_suffix(suffix)?
        .strip_suffix('-')
        .filter(|rest| !rest.is_empty())
}

/// A `CronJob` names its Jobs after itself and the time, of eight to ten digits.
fn cron_job(job: &str) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let is_time = (8..=10).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn name(pod: &str, owners: &Value, labels: &[(&str, &str)], generated: bool) -> String {
        let metadata = json!({
            "name": pod,
            "generateName": if generated { "x-" } else { "" },
            "ownerReferences": owners,
        });
        let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
        let labels = labels
            .iter()
            .map(|&(key, value)| (key.into(), value.into()))
            .collect();
        WorkloadName::of(&metadata, &labels).resolve(pod).to_owned()
    }

    fn owner(kind: &str, name: &str) -> Value {
        json!([{ "apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true }])
    }

    #[test]
    fn the_name_is_that_of_what_made_the_pod() {
        let hash = [("pod-template-hash", "66b6c48dd5")];
        for (pod, owners, labels, expected) in [
            (
                "web-66b6c48dd5-abcde",
                owner("ReplicaSet", "web-66b6c48dd5"),
                &hash[..],
                "web",
            ),
            (
                "web-66b6c48dd5-abcde",
                owner("ReplicaSet", "web-66b6c48dd5"),
                &[],
                "web-66b6c48dd5",
            ),
            ("web-abcde", owner("ReplicaSet", "web"), &hash, "web"),
            (
                "web66b6c48dd5-abcde",
                owner("ReplicaSet", "web66b6c48dd5"),
                &hash,
                "web66b6c48dd5",
            ),
            (
                "roll-7d-abcde",
                owner("ReplicaSet", "roll-7d"),
                &[("rollouts-pod-template-hash", "7d")],
                "roll",
            ),
            ("db-0", owner("StatefulSet", "db"), &[], "db"),
            ("log-x7x7x", owner("DaemonSet", "log"), &[], "log"),
            ("once-x7x7x", owner("Job", "once"), &[], "once"),
            (
                "night-29384756-x7x7x",
                owner("Job", "night-29384756"),
                &[],
                "night",
            ),
            (
                "night-1606123200-x7x7x",
                owner("Job", "night-1606123200"),
                &[],
                "night",
            ),
            ("v-1234567-x7x7x", owner("Job", "v-1234567"), &[], "v-1234567"),
            (
                "v-12345678901-x",
                owner("Job", "v-12345678901"),
                &[],
                "v-12345678901",
            ),
            ("v-1234567a-x", owner("Job", "v-1234567a"), &[], "v-1234567a"),
            (
                "dc-1-x",
                owner("ReplicationController", "dc-1"),
                &[("deploymentconfig", "dc")],
                "dc",
            ),
            ("rc-x", owner("ReplicationController", "rc"), &[], "rc"),
            ("own-x", owner("PodSet", "own"), &[], "own"),
            ("lone", json!([]), &[], "lone"),
            (
                "named",
                owner("ReplicaSet", "other"),
                &[("service.istio.io/workload-name", "mine")],
                "mine",
            ),
        ] {
            assert_eq!(name(pod, &owners, labels, true), expected, "{pod}");
        }
    }

    #[test]
    fn only_a_controller_makes_pods() {
        let helper = json!([{ "apiVersion": "v1", "kind": "ReplicaSet", "name": "web", "uid": "u" }]);
        assert_eq!(name("web-x", &helper, &[], true), "web-x");
        // A mirror of a pod that the kubelet found in a file belongs to its node.
        assert_eq!(
            name("proxy-node-1", &owner("Node", "node-1"), &[], false),
            "proxy-node-1"
        );
        assert_eq!(
            name("db-0", &owner("StatefulSet", "db"), &[], false),
            "db",
            "written by hand"
        );
    }

    #[test]
    fn a_name_that_the_pods_does_not_start_with_is_kept() {
        assert_eq!(size_of::<WorkloadName>(), 16);
        let long = "d".repeat(253);
        assert_eq!(name("short-x", &owner("DaemonSet", &long), &[], true), long);
        assert_eq!(WorkloadName::new("db", "db-0"), WorkloadName::Start(2));
    }
}

//! The names behind the ids in the kernel, written to the runtime directory so that `meshctl` can show them
//! with or without an agent.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

mod policies;
mod services;

use super::{engine::Engine, note, policy};
use crate::model::desired::PodKey;

pub use policies::SetName;
pub use services::{ServiceName, UntouchedName};

/// File name within the runtime directory.
const FILE: &str = "names.json";

/// What the ids in the kernel mean.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    /// Name of the node.
    pub node: String,
    /// The cgroup the programs are attached to.
    pub cgroup: PathBuf,
    /// Service id to service port.
    pub services: BTreeMap<u32, ServiceName>,
    /// What clients dial and is left to the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untouched: Vec<UntouchedName>,
    /// Workload id to pod.
    pub workloads: BTreeMap<u32, PodName>,
    /// Pods of this node that ask for the mesh and are not in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unenrolled: Vec<UnenrolledName>,
    /// Number of a rule set in the kernel to the policies it was made of.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policy_sets: BTreeMap<u32, SetName>,
    /// Sets of labels as `kubectl --show-labels` writes them, each once: the pods of a Deployment have the same.
    /// Nothing where the agent that wrote this knew of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_sets: Option<Vec<String>>,
}

/// Labels of an object.
pub type Labels<'a> = BTreeMap<&'a str, &'a str>;

/// A pod.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Path of the handle of its network namespace, for enrolled pods of this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<PathBuf>,
    /// Path of its cgroup, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// Its labels, as an index of [`Names::label_sets`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<u32>,
}

/// A pod that asks for the mesh and is not in it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnenrolledName {
    /// The pod.
    #[serde(flatten)]
    pub pod: PodName,
    /// The reason.
    pub why: String,
}

impl Names {
    /// What the agent knows now.
    #[must_use]
    pub fn of(engine: &Engine, node: &str, cgroup: &Path) -> Self {
        let mut sets = LabelSets::default();
        let services = services::services(engine, &mut sets);
        let untouched = services::untouched(engine, &mut sets);
        let mut named = |pod: &PodKey| PodName {
            labels: sets.add(engine.cluster().pod_labels(pod)),
            namespace: pod.object.namespace.to_string(),
            name: pod.object.name.to_string(),
            netns: engine.assignment().paths.get(pod).cloned(),
            cgroup: engine.pending().cgroup(pod).map(|cgroup| cgroup.path.clone()),
        };
        let workloads = engine.ledger().workloads();
        let workloads = workloads.map(|(id, pod)| (id, named(pod))).collect();
        let unenrolled = engine.cluster().unenrolled().map(|(pod, why)| UnenrolledName {
            pod: named(pod),
            why: why.to_string(),
        });
        let unenrolled = unenrolled.collect();
        Self {
            node: node.to_owned(),
            cgroup: cgroup.to_path_buf(),
            services,
            untouched,
            workloads,
            unenrolled,
            policy_sets: policy::sets(engine),
            label_sets: Some(sets.into_list()),
        }
    }

    /// The labels of an object that is in it; `None` where they are not known.
    #[must_use]
    pub fn labels(&self, set: Option<u32>) -> Option<Labels<'_>> {
        let sets = self.label_sets.as_ref()?;
        let Some(set) = set else {
            return Some(Labels::default());
        };
        let pairs = sets.get(set as usize)?.split(',');
        Some(pairs.filter_map(|pair| pair.split_once('=')).collect())
    }

    /// Reads the names an agent left; none where there are none.
    ///
    /// # Errors
    /// Where the file is there and can't be read or understood.
    pub fn load(run_dir: &Path) -> io::Result<Self> {
        note::load(run_dir, FILE).map(Option::unwrap_or_default)
    }

    /// Writes the names; a reader sees the old file or the new one.
    ///
    /// # Errors
    /// Where the directory can't be written.
    pub fn store(&self, run_dir: &Path) -> io::Result<()> {
        note::store(run_dir, FILE, self)
    }
}

/// Sets of labels, each once, by their place in the list.
#[derive(Default)]
struct LabelSets(HashMap<String, u32>);

impl LabelSets {
    /// The place of a set; `None` for the empty one.
    fn add<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Option<u32> {
        let mut text = String::new();
        for (key, value) in labels {
            let comma = if text.is_empty() { "" } else { "," };
            text.extend([comma, key, "=", value]);
        }
        if text.is_empty() {
            return None;
        }
        let next = u32::try_from(self.0.len()).ok()?;
        Some(*self.0.entry(text).or_insert(next))
    }

    fn into_list(self) -> Vec<String> {
        let mut sets: Vec<(String, u32)> = self.0.into_iter().collect();
        sets.sort_unstable_by_key(|&(_, place)| place);
        sets.into_iter().map(|(text, _)| text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_agent_and_older_files_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Names::load(dir.path()).unwrap(), Names::default());
        let names = Names {
            node: "n".into(),
            services: [(
                1,
                ServiceName {
                    name: "web".into(),
                    port: 80,
                    ..ServiceName::default()
                },
            )]
            .into(),
            ..Names::default()
        };
        names.store(dir.path()).unwrap();
        assert_eq!(Names::load(dir.path()).unwrap(), names);
        std::fs::write(dir.path().join(FILE), "{}").unwrap();
        assert_eq!(Names::load(dir.path()).unwrap(), Names::default());
    }

    #[test]
    fn rule_sets_are_told_by_their_policies() {
        let set = SetName {
            direction: "ingress".into(),
            policies: vec!["shop/deny".into()],
        };
        let names = Names {
            policy_sets: [(5, set)].into(),
            ..Names::default()
        };
        let text = serde_json::to_string(&names).unwrap();
        assert!(
            text.ends_with(r#""policySets":{"5":{"direction":"ingress","policies":["shop/deny"]}}}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Names>(&text).unwrap(), names);
    }

    #[test]
    fn labels_are_written_once_for_all_that_have_them() {
        let mut sets = LabelSets::default();
        let web = [("app", "web"), ("tier", "")];
        assert_eq!(sets.add(web.into_iter()), Some(0));
        assert_eq!(sets.add([("app", "db")].into_iter()), Some(1));
        assert_eq!(sets.add(web.into_iter()), Some(0));
        assert_eq!(sets.add([].into_iter()), None);
        let names = Names {
            label_sets: Some(sets.into_list()),
            ..Names::default()
        };
        let text = serde_json::to_string(&names).unwrap();
        assert!(
            text.ends_with(r#""labelSets":["app=web,tier=","app=db"]}"#),
            "{text}"
        );
        assert_eq!(names.labels(Some(0)), Some(web.into()));
        assert_eq!(names.labels(None), Some(Labels::new()));
        assert_eq!(names.labels(Some(7)), None);
        assert_eq!(Names::default().labels(None), None, "an agent that noted none");
    }
}

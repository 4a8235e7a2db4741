//! The names behind the ids in the kernel, written to the runtime directory so that `meshctl` can show them
//! with or without an agent.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use crate::model::desired::PodKey;

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
    /// Workload id to pod.
    pub workloads: BTreeMap<u32, PodName>,
}

/// A service port.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Port number.
    pub port: u16,
    /// Name of the port; empty where it has none.
    pub port_name: String,
    /// `TCP` or `UDP`.
    pub protocol: String,
}

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
}

impl Names {
    /// What the agent knows now.
    #[must_use]
    pub fn of(engine: &Engine, node: &str, cgroup: &Path) -> Self {
        let services = engine.ledger().services().map(|(id, name, key, port_name)| {
            let service = ServiceName {
                namespace: name.namespace.clone(),
                name: name.name.clone(),
                port: key.port,
                port_name: port_name.to_owned(),
                protocol: key.protocol.name().to_owned(),
            };
            (id, service)
        });
        let workloads = engine.ledger().workloads().map(|(id, pod)| {
            let PodKey { object, .. } = pod;
            let netns = engine.assignment().paths.get(pod).cloned();
            (
                id,
                PodName {
                    namespace: object.namespace.clone(),
                    name: object.name.clone(),
                    netns,
                },
            )
        });
        Self {
            node: node.to_owned(),
            cgroup: cgroup.to_path_buf(),
            services: services.collect(),
            workloads: workloads.collect(),
        }
    }

    /// Reads the names an agent left; none where there are none.
    ///
    /// # Errors
    /// Where the file is there and can't be read or understood.
    pub fn load(run_dir: &Path) -> io::Result<Self> {
        match fs::read(run_dir.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the names; a reader sees the old file or the new one.
    ///
    /// # Errors
    /// Where the directory can't be written.
    pub fn store(&self, run_dir: &Path) -> io::Result<()> {
        let fresh = run_dir.join("names.json.new");
        fs::write(&fresh, serde_json::to_vec(self).map_err(io::Error::other)?)?;
        fs::rename(&fresh, run_dir.join(FILE))
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
        fs::write(dir.path().join(FILE), "{}").unwrap();
        assert_eq!(Names::load(dir.path()).unwrap(), Names::default());
    }
}

//! What the manifests give the agent of a cluster: read from them, so that tests and manifests can't part.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::apiserver::Rule;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base");

/// The capabilities that the `DaemonSet` adds, as they stand there: `NET_ADMIN`.
pub fn capabilities() -> Result<Vec<String>> {
    let daemon_set = documents("daemonset.yaml")?.into_iter().next();
    let daemon_set = daemon_set.context("an empty daemonset.yaml")?;
    let container = &daemon_set["spec"]["template"]["spec"]["containers"][0];
    let added = container["securityContext"]["capabilities"]["add"].as_array();
    let added = added.context("no capabilities")?.iter().filter_map(Value::as_str);
    Ok(added.map(Into::into).collect())
}

/// The flag by which `setpriv` leaves a program these capabilities and no other.
#[must_use]
pub fn bounds(capabilities: &[String]) -> String {
    let add = |flag: String, name: &String| format!("{flag},+{}", name.to_lowercase());
    capabilities.iter().fold("--bounding-set=-all".into(), add)
}

/// The rules of the `ClusterRole`.
pub fn rules() -> Result<Vec<Rule>> {
    let mut roles = documents("rbac.yaml")?.into_iter();
    let role = roles.find(|role| role["kind"] == "ClusterRole");
    let role = role.context("no ClusterRole")?;
    serde_json::from_value(role["rules"].clone()).context("the rules of the ClusterRole")
}

fn documents(file: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(format!("{BASE}/{file}")).context(file.to_owned())?;
    serde_saphyr::from_multiple(&text).context(file.to_owned())
}

//! The policies behind the rule sets in the kernel.

use serde::{Deserialize, Serialize};

/// A rule set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetName {
    /// `ingress` or `egress`.
    pub direction: String,
    /// The policies that isolate its pods, as `namespace/name`.
    pub policies: Vec<String>,
}

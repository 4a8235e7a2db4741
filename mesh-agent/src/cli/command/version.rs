//! `version`: who speaks, and with whom.

use mesh_common::abi::ABI_VERSION;
use serde::Serialize;

use crate::cli::{
    agent::Silence,
    args::Format,
    failure::Failure,
    node::Node,
    output::{self, Detail, table},
};

/// Versions.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client: String,
    abi: u32,
    /// `None` where no agent answers.
    agent: Option<String>,
    #[serde(skip)]
    why: String,
}

impl Detail for Versions {
    const KIND: &'static str = "Version";

    fn text(&self) -> String {
        let agent = self.agent.clone().unwrap_or_else(|| self.why.clone());
        table::facts(&[
            ("Client", self.client.clone()),
            ("Kernel tables", format!("v{}", self.abi)),
            ("Agent", agent),
        ])
    }
}

/// `version`. An agent that does not answer is no failure here.
pub fn run(node: &Node, format: Format) -> Result<String, Failure> {
    output::one(
        &versions(node.agent.status().map(|status| status.version)),
        format,
    )
}

fn versions(agent: Result<String, Silence>) -> Versions {
    let why = match &agent {
        Ok(_) => String::new(),
        Err(Silence::NotRunning(_)) => "not running".to_owned(),
        Err(silence) => silence.to_string(),
    };
    Versions {
        client: env!("CARGO_PKG_VERSION").to_owned(),
        abi: ABI_VERSION,
        agent: agent.ok(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_an_agent() {
        let versions = |agent| Versions {
            client: "0.1.0".into(),
            abi: 1,
            ..versions(agent)
        };
        let alone = versions(Err(Silence::NotRunning("/run/mesh/admin.sock".into())));
        assert_eq!(
            alone.text(),
            "Client:         0.1.0\nKernel tables:  v1\nAgent:          not running\n"
        );
        let both = versions(Ok("0.2.0".into()));
        assert_eq!(
            output::one(&both, Format::Yaml).unwrap(),
            "apiVersion: mesh-agent.io/v1alpha1\nkind: Version\nclient: 0.1.0\nabi: 1\nagent: 0.2.0\n"
        );
    }
}

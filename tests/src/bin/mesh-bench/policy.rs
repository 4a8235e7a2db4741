//! Network policies that let pass what is measured, and nothing else.

use harness::manifest::Manifest;
use serde_json::{Value, json};

use crate::workload::Workload;

/// A port of the node that no rule lets anybody reach.
pub const FORBIDDEN: u16 = 9;

/// Policies beside the two that matter.
const OTHERS: usize = 50;

/// All of them.
pub fn all() -> Vec<Manifest> {
    let ports = Workload::ALL.map(|workload| json!({ "port": workload.port() }));
    let peer = |app: &str| json!([{ "podSelector": { "matchLabels": { "app": app } } }]);
    let mut policies = vec![
        policy(
            "client",
            json!({ "matchLabels": { "app": "client" } }),
            json!({
                "policyTypes": ["Ingress", "Egress"],
                "egress": [{ "to": peer("server"), "ports": ports }],
            }),
        ),
        policy(
            "server",
            json!({ "matchLabels": { "app": "server" } }),
            json!({
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{ "from": peer("client"), "ports": ports }],
            }),
        ),
    ];
    policies.extend((0..OTHERS).map(|number| {
        let stranger = peer(&format!("stranger-{number}"));
        let ports = json!([{ "port": 20_000 + number }]);
        policy(
            &format!("other-{number}"),
            json!({}),
            json!({
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{ "from": stranger, "ports": ports }],
                "egress": [{ "to": stranger, "ports": ports }],
            }),
        )
    }));
    policies
}

fn policy(name: &str, pods: Value, mut spec: Value) -> Manifest {
    spec["podSelector"] = pods;
    Manifest::new("networking.k8s.io/v1", "NetworkPolicy", Some("shop"), name).set("spec", spec)
}

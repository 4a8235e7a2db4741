//! Nodes: the zone they stand in, the addresses that have node ports, and the taint that waits for the agent.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as api;
use mesh_common::addr::Addr;
use mesh_common::names::{NOT_READY_TAINT, ZONE_LABEL};

use super::invalid::{At, Misfit};
use super::{Invalid, ObjectRef, field};

/// What the mesh uses of a Node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its zone, where it is known.
    pub zone: Option<String>,
    /// Its addresses (`InternalIP` and `ExternalIP`), in both families.
    pub addresses: BTreeSet<Addr>,
    /// Where in `spec.taints` those are that the agent removes once it is ready, in order.
    pub taints: Vec<usize>,
}

impl Node {
    /// Which object this is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::Node(self.name.clone())
    }
}

impl TryFrom<api::Node> for Node {
    type Error = Invalid;

    fn try_from(node: api::Node) -> Result<Self, Invalid> {
        let object = ObjectRef::Node(node.metadata.name.clone().unwrap_or_default());
        convert(node).map_err(|misfit| misfit.of(&object))
    }
}

fn convert(node: api::Node) -> Result<Node, Misfit> {
    let mut labels = node.metadata.labels.unwrap_or_default();
    let name = node.metadata.name.unwrap_or_default();
    field::check_name(&name).at(|| "metadata.name")?;
    let reported = node
        .status
        .and_then(|status| status.addresses)
        .unwrap_or_default();
    let mut addresses = BTreeSet::new();
    for (index, reported) in reported.iter().enumerate() {
        // The others are names.
        if ["InternalIP", "ExternalIP"].contains(&reported.type_.as_str()) {
            let addr = field::address(&reported.address);
            addresses.insert(addr.at(|| format!("status.addresses[{index}].address"))?);
        }
    }
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let taints = taints.iter().enumerate();
    let ours = taints.filter(|(_, taint)| taint.key == NOT_READY_TAINT);
    Ok(Node {
        name,
        taints: ours.map(|(index, _)| index).collect(),
        zone: labels.remove(ZONE_LABEL).filter(|zone| !zone.is_empty()),
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn convert(status: &Value) -> Result<Vec<String>, String> {
        let node = json!({ "metadata": { "name": "n" }, "status": status });
        let node: api::Node = serde_json::from_value(node).unwrap();
        let node = Node::try_from(node).map_err(|invalid| invalid.to_string())?;
        Ok(node.addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn node_ports_are_at_addresses_and_not_at_names() {
        let address = |kind: &str, address: &str| json!({ "type": kind, "address": address });
        for (addresses, expected) in [
            (json!(null), vec![]),
            (json!([address("Hostname", "n")]), vec![]),
            (
                json!([
                    address("InternalDNS", "n.example.org"),
                    address("Hostname", "10.0.0.9")
                ]),
                vec![],
            ),
            (
                json!([
                    address("InternalIP", "10.0.0.1"),
                    address("ExternalIP", "203.0.113.1")
                ]),
                vec!["10.0.0.1", "203.0.113.1"],
            ),
            (
                json!([
                    address("InternalIP", "10.0.0.1"),
                    address("InternalIP", "fd00::1")
                ]),
                vec!["10.0.0.1", "fd00::1"],
            ),
        ] {
            assert_eq!(convert(&json!({ "addresses": addresses })).unwrap(), expected);
        }
        let wrong = json!({ "addresses": [address("Hostname", "n"), address("InternalIP", "n")] });
        assert_eq!(
            convert(&wrong).unwrap_err(),
            "Node n: status.addresses[1].address: \"n\" is not an IP address"
        );
    }

    #[test]
    fn the_taint_that_waits_for_the_agent_is_found_by_its_key() {
        let taints = json!([
            { "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" },
            { "key": "mesh-agent.io/agent-not-ready", "effect": "NoSchedule" },
            { "key": "mesh-agent.io/agent-not-ready", "effect": "NoExecute", "value": "x" },
        ]);
        let node = json!({ "metadata": { "name": "n" }, "spec": { "taints": taints } });
        let node: api::Node = serde_json::from_value(node).unwrap();
        assert_eq!(Node::try_from(node).unwrap().taints, [1, 2]);
    }
}

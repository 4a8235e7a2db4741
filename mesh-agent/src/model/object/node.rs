//! Nodes: the zone they stand in, and the addresses that have node ports.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as api;
use mesh_common::addr::Addr;
use mesh_common::names::ZONE_LABEL;

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
    Ok(Node {
        name,
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
}

//! Nodes: the zone they stand in.

use k8s_openapi::api::core::v1 as api;
use mesh_common::names::ZONE_LABEL;

use super::invalid::At;
use super::{Invalid, ObjectRef, field};

/// What the mesh uses of a Node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its zone, where it is known.
    pub zone: Option<String>,
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
        let mut labels = node.metadata.labels.unwrap_or_default();
        let node = Self {
            name: node.metadata.name.unwrap_or_default(),
            zone: labels.remove(ZONE_LABEL).filter(|zone| !zone.is_empty()),
        };
        field::check_name(&node.name)
            .at(|| "metadata.name")
            .map_err(|misfit| misfit.of(&node.reference()))?;
        Ok(node)
    }
}

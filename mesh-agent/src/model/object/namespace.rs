//! Namespaces: whether their pods are in the mesh.

use k8s_openapi::api::core::v1 as api;

use super::invalid::At;
use super::{Invalid, ObjectRef, Setting, field, setting};

/// What the mesh uses of a Namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Whether its pods are in the mesh, unless they say otherwise themselves.
    pub dataplane: Setting<bool>,
    /// The same in Istio's words, for agents that honour those.
    pub ambient: Option<bool>,
    /// Whether its pods' sockets may be accelerated, unless they say otherwise themselves.
    pub acceleration: Setting<bool>,
}

impl Namespace {
    /// Which object this is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::Namespace(self.name.clone())
    }

    pub(super) fn doubtful(&self) -> Vec<Invalid> {
        setting::doubts(&self.dataplane, &self.acceleration, &self.reference())
    }
}

impl TryFrom<api::Namespace> for Namespace {
    type Error = Invalid;

    fn try_from(namespace: api::Namespace) -> Result<Self, Invalid> {
        let metadata = namespace.metadata;
        let labels = metadata.labels.unwrap_or_default();
        let namespace = Self {
            name: metadata.name.unwrap_or_default(),
            dataplane: setting::dataplane(&labels),
            ambient: setting::ambient(&labels),
            acceleration: setting::acceleration(metadata.annotations.as_ref()),
        };
        field::check_name(&namespace.name)
            .at(|| "metadata.name")
            .map_err(|misfit| misfit.of(&namespace.reference()))?;
        Ok(namespace)
    }
}

//! Namespaces: whether their pods are in the mesh, and how.

use k8s_openapi::api::core::v1 as api;
use mesh_common::names::fail_mode;

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
    /// Whether its pods fail closed, as it says; [`Self::fails_closed`] is what counts.
    pub fail_mode: Setting<bool>,
}

impl Namespace {
    /// Which object this is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::Namespace(self.name.clone())
    }

    /// Whether its pods fail closed. Who writes a value nobody knows wants something other than the default.
    #[must_use]
    pub const fn fails_closed(&self) -> bool {
        match self.fail_mode {
            Setting::Unset => false,
            Setting::Set(closed) => closed,
            Setting::Unknown(_) => true,
        }
    }

    pub(super) fn doubtful(&self) -> Vec<Invalid> {
        let object = self.reference();
        let mut doubts = setting::doubts(&self.dataplane, &self.acceleration, &object);
        let allowed = "open, closed; it counts as closed";
        let fail_mode = self
            .fail_mode
            .doubt(&object, "annotations", fail_mode::ANNOTATION, allowed);
        doubts.extend(fail_mode);
        doubts
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
            fail_mode: setting::fails_closed(metadata.annotations.as_ref()),
        };
        field::check_name(&namespace.name)
            .at(|| "metadata.name")
            .map_err(|misfit| misfit.of(&namespace.reference()))?;
        Ok(namespace)
    }
}

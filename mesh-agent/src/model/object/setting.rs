//! A setting of the mesh in a label or annotation.

use std::collections::BTreeMap;

use mesh_common::names::{acceleration, dataplane, fail_mode, istio, load_balancing, policy_mode};
use mesh_common::service::Algorithm;

use super::{Fault, Invalid, ObjectRef};

/// What a label or annotation of ours says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Setting<T> {
    /// Nothing.
    #[default]
    Unset,
    /// A value we know.
    Set(T),
    /// Something else; counts as not set, and is reported.
    Unknown(String),
}

impl<T: Copy> Setting<T> {
    /// The value, where there is one we know.
    #[must_use]
    pub const fn value(&self) -> Option<T> {
        match self {
            Self::Set(value) => Some(*value),
            Self::Unset | Self::Unknown(_) => None,
        }
    }

    /// Why this setting is not what its author meant, if so.
    pub(super) fn doubt(
        &self,
        object: &ObjectRef,
        field: &'static str,
        key: &str,
        allowed: &'static str,
    ) -> Option<Invalid> {
        let Self::Unknown(value) = self else { return None };
        Some(Invalid {
            object: object.clone(),
            field: format!("metadata.{field}[{key}]"),
            fault: Fault::NotOneOf {
                value: value.clone(),
                allowed,
            },
        })
    }
}

/// Whether the labels of a Pod or Namespace put it into the mesh.
pub(super) fn dataplane(labels: &BTreeMap<String, String>) -> Setting<bool> {
    match labels.get(dataplane::LABEL).map(String::as_str) {
        None => Setting::Unset,
        Some(dataplane::ENABLED) => Setting::Set(true),
        Some(dataplane::DISABLED) => Setting::Set(false),
        Some(other) => Setting::Unknown(other.to_owned()),
    }
}

/// What Istio's label of the same meaning says on a Pod or Namespace, where it is there and says something.
pub(super) fn ambient(labels: &BTreeMap<String, String>) -> Option<bool> {
    match labels.get(istio::DATAPLANE_MODE)?.as_str() {
        istio::AMBIENT => Some(true),
        istio::NONE => Some(false),
        _ => None,
    }
}

/// Whether the annotations of a Pod or Namespace ask for acceleration.
pub(super) fn acceleration(annotations: Option<&BTreeMap<String, String>>) -> Setting<bool> {
    let value = annotations.and_then(|annotations| annotations.get(acceleration::ANNOTATION));
    match value.map(String::as_str) {
        None => Setting::Unset,
        Some(acceleration::SOCKET) => Setting::Set(true),
        Some(acceleration::OFF) => Setting::Set(false),
        Some(other) => Setting::Unknown(other.to_owned()),
    }
}

/// Whether the annotations of a Namespace want its pods to fail closed.
pub(super) fn fails_closed(annotations: Option<&BTreeMap<String, String>>) -> Setting<bool> {
    let value = annotations.and_then(|annotations| annotations.get(fail_mode::ANNOTATION));
    match value.map(String::as_str) {
        None => Setting::Unset,
        Some(fail_mode::CLOSED) => Setting::Set(true),
        Some(fail_mode::OPEN) => Setting::Set(false),
        Some(other) => Setting::Unknown(other.to_owned()),
    }
}

/// Whether the annotations of a Namespace want what its policies refuse to be reported, and to pass.
pub(super) fn audited(annotations: Option<&BTreeMap<String, String>>) -> Setting<bool> {
    let value = annotations.and_then(|annotations| annotations.get(policy_mode::ANNOTATION));
    match value.map(String::as_str) {
        None => Setting::Unset,
        Some(policy_mode::AUDIT) => Setting::Set(true),
        Some(policy_mode::ENFORCE) => Setting::Set(false),
        Some(other) => Setting::Unknown(other.to_owned()),
    }
}

/// Reports what [`dataplane`] and [`acceleration`] did not know.
pub(super) fn doubts(
    dataplane: &Setting<bool>,
    acceleration: &Setting<bool>,
    object: &ObjectRef,
) -> Vec<Invalid> {
    let label = dataplane.doubt(object, "labels", dataplane::LABEL, "enabled, disabled");
    let annotation = acceleration.doubt(object, "annotations", acceleration::ANNOTATION, "off, socket");
    label.into_iter().chain(annotation).collect()
}

/// How the annotations of a Service want a backend to be chosen.
pub(super) fn load_balancing(annotations: &BTreeMap<String, String>) -> Setting<Algorithm> {
    match annotations.get(load_balancing::ANNOTATION).map(String::as_str) {
        None => Setting::Unset,
        Some(load_balancing::RANDOM) => Setting::Set(Algorithm::Random),
        Some(load_balancing::MAGLEV) => Setting::Set(Algorithm::Maglev),
        Some(other) => Setting::Unknown(other.to_owned()),
    }
}

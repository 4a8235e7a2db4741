//! Namespaces: whether their pods are in the mesh, and how; and what policies look at.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;
use mesh_common::names::{ALLOWED_SOURCES_ANNOTATION, NAMESPACE_NAME_LABEL, fail_mode, policy_mode};

use super::invalid::{At, Misfit};
use super::network_policy::Cidr;
use super::{Invalid, Labels, ObjectRef, Setting, field, setting};

#[cfg(test)]
mod tests;

/// What the mesh uses of a Namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels, its name among them.
    pub labels: Labels,
    /// Whether its pods are in the mesh, unless they say otherwise themselves.
    pub dataplane: Setting<bool>,
    /// The same in Istio's words, for agents that honour those.
    pub ambient: Option<bool>,
    /// Whether its pods' sockets may be accelerated, unless they say otherwise themselves.
    pub acceleration: Setting<bool>,
    /// Whether its pods fail closed, as it says; [`Self::fails_closed`] is what counts.
    pub fail_mode: Setting<bool>,
    /// Whether what its policies refuse passes and is reported, as it says; [`Self::is_audited`] is what counts.
    pub policy_mode: Setting<bool>,
    /// What its pods may send from besides their own addresses, in order, each once.
    pub allowed_sources: Box<[Cidr]>,
    /// What could not be read of that and was left out.
    pub faults: Vec<Invalid>,
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

    /// Whether what its policies refuse passes and is reported. A value nobody knows opens nothing.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        self.policy_mode.value().unwrap_or(false)
    }

    pub(super) fn doubtful(&self) -> Vec<Invalid> {
        let object = self.reference();
        let doubt =
            |setting: &Setting<bool>, key, allowed| setting.doubt(&object, "annotations", key, allowed);
        let fail_mode = doubt(
            &self.fail_mode,
            fail_mode::ANNOTATION,
            "open, closed; it counts as closed",
        );
        let policy_mode = doubt(
            &self.policy_mode,
            policy_mode::ANNOTATION,
            "enforce, audit; it counts as enforce",
        );
        let mut doubts = setting::doubts(&self.dataplane, &self.acceleration, &object);
        doubts.extend(fail_mode.into_iter().chain(policy_mode));
        doubts.extend(self.faults.iter().cloned());
        doubts
    }
}

impl TryFrom<api::Namespace> for Namespace {
    type Error = Invalid;

    fn try_from(namespace: api::Namespace) -> Result<Self, Invalid> {
        let metadata = namespace.metadata;
        let name = metadata.name.unwrap_or_default();
        let object = ObjectRef::Namespace(name.clone());
        field::check_name(&name)
            .at(|| "metadata.name")
            .map_err(|misfit| misfit.of(&object))?;

        let mut labels = metadata.labels.unwrap_or_default();
        // As an API server does, whatever stands there.
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.clone());
        let annotations = metadata.annotations.as_ref();
        let (allowed_sources, faults) = allowed_sources(annotations);
        Ok(Self {
            dataplane: setting::dataplane(&labels),
            ambient: setting::ambient(&labels),
            acceleration: setting::acceleration(annotations),
            fail_mode: setting::fails_closed(annotations),
            policy_mode: setting::audited(annotations),
            allowed_sources,
            faults: faults.into_iter().map(|misfit| misfit.of(&object)).collect(),
            labels: labels.into(),
            name,
        })
    }
}

/// The prefixes that can be read, and what is wrong with the others.
fn allowed_sources(annotations: Option<&BTreeMap<String, String>>) -> (Box<[Cidr]>, Vec<Misfit>) {
    let text = annotations.and_then(|annotations| annotations.get(ALLOWED_SOURCES_ANNOTATION));
    let parts = text.into_iter().flat_map(|text| text.split(',')).map(str::trim);
    let (mut sources, mut faults) = (Vec::new(), Vec::new());
    for part in parts.filter(|part| !part.is_empty()) {
        let source = Cidr::parse(part).at(|| format!("metadata.annotations[{ALLOWED_SOURCES_ANNOTATION}]"));
        match source {
            Ok(source) => sources.push(source),
            Err(misfit) => faults.push(misfit),
        }
    }
    sources.sort_unstable();
    sources.dedup();
    (sources.into(), faults)
}

//! What goes into the cluster and what comes out of a change.

use std::collections::BTreeSet;

use crate::model::desired::{ObjectName, PodKey};
use crate::model::object::{Object, ObjectRef};

/// A change to one object. Repeating one changes nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The object is there and looks like this.
    Upsert(Object),
    /// The object is gone.
    Delete(ObjectRef),
}

/// What must be looked at again after a change: it may or may not differ.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct Dirty {
    /// Services.
    pub services: BTreeSet<ObjectName>,
    /// Pods, those that are gone included.
    pub pods: BTreeSet<PodKey>,
    /// Network policies, those that are gone included.
    pub policies: BTreeSet<ObjectName>,
    /// Namespaces as policies see them, those that are gone included.
    pub namespaces: BTreeSet<String>,
}

impl Dirty {
    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            services,
            pods,
            policies,
            namespaces,
        } = self;
        services.is_empty() && pods.is_empty() && policies.is_empty() && namespaces.is_empty()
    }

    /// Adds what another change left.
    pub fn merge(&mut self, other: Self) {
        // Not `append`, which builds the whole set anew for every single change.
        self.services.extend(other.services);
        self.pods.extend(other.pods);
        self.policies.extend(other.policies);
        self.namespaces.extend(other.namespaces);
    }
}

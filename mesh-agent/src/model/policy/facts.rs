//! What policies look at, of one namespace and of one pod.

use mesh_common::addr::Addr;

use super::NamedPort;
use crate::model::object::Labels;

/// A namespace as policies see it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamespaceFacts {
    /// Its labels, `kubernetes.io/metadata.name` among them.
    pub labels: Labels,
    /// Whether what its pods are refused passes and is reported.
    pub audited: bool,
}

/// A pod that has a network of its own, as policies see it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PodFacts {
    /// Its labels.
    pub labels: Labels,
    /// The addresses it says are its own, those that another pod claims, too, included.
    pub addresses: Vec<Addr>,
    /// The ports its containers name; the first of a name and protocol counts.
    pub ports: Vec<NamedPort>,
}

//! Which object is meant: kind, namespace and name.

use std::fmt;

use crate::model::desired::ObjectName;

/// Names one object of a kind the mesh uses.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ObjectRef {
    /// A Namespace.
    Namespace(String),
    /// A Node.
    Node(String),
    /// A Pod.
    Pod(ObjectName),
    /// A Service.
    Service(ObjectName),
    /// An EndpointSlice.
    EndpointSlice(ObjectName),
    /// A `NetworkPolicy`.
    NetworkPolicy(ObjectName),
}

impl ObjectRef {
    /// The kind as Kubernetes spells it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Namespace(_) => "Namespace",
            Self::Node(_) => "Node",
            Self::Pod(_) => "Pod",
            Self::Service(_) => "Service",
            Self::EndpointSlice(_) => "EndpointSlice",
            Self::NetworkPolicy(_) => "NetworkPolicy",
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) | Self::Node(name) => write!(f, "{} {name}", self.kind()),
            Self::Pod(name) | Self::Service(name) | Self::EndpointSlice(name) | Self::NetworkPolicy(name) => {
                write!(f, "{} {name}", self.kind())
            }
        }
    }
}

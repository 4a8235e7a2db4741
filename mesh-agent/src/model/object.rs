//! Kubernetes objects, reduced to what the mesh uses of them and checked on the way in.
//!
//! Each type has a `TryFrom` of the API type; what comes out of it is right by construction: ports are
//! ports, addresses are addresses of the family that was promised, names are names.

use std::sync::Arc;

pub mod endpoint_slice;
pub mod invalid;
pub mod labels;
pub mod namespace;
pub mod network_policy;
pub mod node;
pub mod owner;
pub mod pod;
pub mod reference;
pub mod service;
pub mod setting;
pub mod unenrolled;

mod field;

pub use endpoint_slice::EndpointSlice;
pub use invalid::{Fault, Invalid};
pub use labels::Labels;
pub use namespace::Namespace;
pub use network_policy::NetworkPolicy;
pub use node::Node;
pub use pod::Pod;
pub use reference::ObjectRef;
pub use service::Service;
pub use setting::Setting;
pub use unenrolled::Unenrolled;

/// An object of a kind the mesh uses. Whoever keeps one shares it with everybody else who does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Object {
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Node.
    Node(Arc<Node>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A `NetworkPolicy`.
    NetworkPolicy(Arc<NetworkPolicy>),
}

impl Object {
    /// Which object this is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        match self {
            Self::Namespace(namespace) => namespace.reference(),
            Self::Node(node) => node.reference(),
            Self::Pod(pod) => pod.reference(),
            Self::Service(service) => service.reference(),
            Self::EndpointSlice(slice) => slice.reference(),
            Self::NetworkPolicy(policy) => policy.reference(),
        }
    }

    /// Fields that do not say what they should but do not spoil the object either: they are treated as
    /// not set, or as what lets less pass.
    #[must_use]
    pub fn doubtful(&self) -> Vec<Invalid> {
        match self {
            Self::Namespace(namespace) => namespace.doubtful(),
            Self::Pod(pod) => pod.doubtful(),
            Self::Service(service) => service.doubtful(),
            Self::NetworkPolicy(policy) => policy.faults.clone(),
            Self::Node(_) | Self::EndpointSlice(_) => Vec::new(),
        }
    }
}

macro_rules! from_kind {
    ($($kind:ident),*) => {$(
        impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(Arc::new(object))
            }
        }
    )*};
}

from_kind!(Namespace, Node, Pod, Service, EndpointSlice, NetworkPolicy);

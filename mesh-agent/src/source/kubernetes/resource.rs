//! The resources of the API that the mesh follows.

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
use serde_json::value::RawValue;

use super::item::{Identity, Item, item};
use crate::model::desired::ObjectName;
use crate::model::object::{EndpointSlice, Namespace, NetworkPolicy, Node, ObjectRef, Pod, Service};

/// A resource.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Resource {
    /// Namespaces.
    Namespaces,
    /// This node's own Node: nodes are large and change every few seconds, and nobody asks about the others.
    Nodes,
    /// Pods of all nodes.
    Pods,
    /// Services.
    Services,
    /// Endpoint slices.
    EndpointSlices,
    /// Network policies.
    NetworkPolicies,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Namespaces,
        Self::Nodes,
        Self::Pods,
        Self::Services,
        Self::EndpointSlices,
        Self::NetworkPolicies,
    ];

    /// The name, as in rules of roles.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::NetworkPolicies => "networkpolicies",
        }
    }

    /// The name and the API group, as `kubectl` takes it.
    #[must_use]
    pub const fn full_name(self) -> &'static str {
        match self {
            Self::EndpointSlices => "endpointslices.discovery.k8s.io",
            Self::NetworkPolicies => "networkpolicies.networking.k8s.io",
            _ => self.name(),
        }
    }

    /// The API group, empty for the core.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::EndpointSlices => "discovery.k8s.io",
            Self::NetworkPolicies => "networking.k8s.io",
            _ => "",
        }
    }

    /// Path and query of the collection, as far as it is the same for every request; `node` is this node's name.
    pub(super) fn path(self, node: &str) -> String {
        let collection = match self.group() {
            "" => format!("/api/v1/{}?", self.name()),
            group => format!("/apis/{group}/v1/{}?", self.name()),
        };
        match self {
            Self::Nodes => {
                let field = format!("metadata.name={node}");
                let mut query = form_urlencoded::Serializer::for_suffix(collection.clone(), collection.len());
                query.append_pair("fieldSelector", &field).finish() + "&"
            }
            _ => collection,
        }
    }

    /// Reads an object of this resource, and takes of it what the mesh uses.
    #[must_use]
    pub fn item(self, document: &RawValue) -> Item {
        match self {
            Self::Namespaces => item::<core::Namespace, Namespace>(self, document),
            Self::Nodes => item::<core::Node, Node>(self, document),
            Self::Pods => item::<core::Pod, Pod>(self, document),
            Self::Services => item::<core::Service, Service>(self, document),
            Self::EndpointSlices => item::<discovery::EndpointSlice, EndpointSlice>(self, document),
            Self::NetworkPolicies => item::<networking::NetworkPolicy, NetworkPolicy>(self, document),
        }
    }

    /// Which object of this resource is meant.
    pub(super) fn reference(self, identity: &Identity) -> ObjectRef {
        let name = || identity.name.clone();
        let namespaced = || ObjectName::new(identity.namespace.as_str(), identity.name.as_str());
        match self {
            Self::Namespaces => ObjectRef::Namespace(name()),
            Self::Nodes => ObjectRef::Node(name()),
            Self::Pods => ObjectRef::Pod(namespaced()),
            Self::Services => ObjectRef::Service(namespaced()),
            Self::EndpointSlices => ObjectRef::EndpointSlice(namespaced()),
            Self::NetworkPolicies => ObjectRef::NetworkPolicy(namespaced()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(Resource::Pods.path("n"), "/api/v1/pods?");
        assert_eq!(
            Resource::EndpointSlices.path("n"),
            "/apis/discovery.k8s.io/v1/endpointslices?"
        );
        assert_eq!(
            Resource::NetworkPolicies.path("n"),
            "/apis/networking.k8s.io/v1/networkpolicies?"
        );
        assert_eq!(
            Resource::Nodes.path("a&b"),
            "/api/v1/nodes?fieldSelector=metadata.name%3Da%26b&"
        );
    }
}

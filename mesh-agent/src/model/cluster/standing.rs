//! How pods and addresses stand to this node.

use mesh_common::addr::Addr;

use super::Cluster;
use crate::model::desired::ObjectName;
use crate::model::object::{Namespace, Pod};

impl Cluster {
    /// The pod of that name, on whichever node, where it has not ended.
    #[must_use]
    pub fn pod_named(&self, name: &ObjectName) -> Option<&Pod> {
        self.pods.get(name).filter(|pod| !pod.has_ended())
    }

    /// The pods of this node that have a network of their own.
    pub fn own_pods(&self) -> impl Iterator<Item = &Pod> {
        let pods = self.pods.all().filter(|pod| pod.is_workload());
        pods.filter(|pod| self.is_local(pod))
    }

    /// Whether a pod runs on this node.
    #[must_use]
    pub fn runs_here(&self, pod: &Pod) -> bool {
        self.is_local(pod)
    }

    /// Whether a pod is in the mesh, on whichever node.
    #[must_use]
    pub fn takes_in(&self, pod: &Pod) -> bool {
        self.is_enrolled(pod)
    }

    /// Whether an address is this node's own.
    #[must_use]
    pub fn is_own_address(&self, addr: &Addr) -> bool {
        self.host_addresses.contains(addr) || self.node_addresses.contains(addr)
    }

    /// Whether the pods of a namespace fail closed.
    #[must_use]
    pub fn fails_closed(&self, namespace: &str) -> bool {
        let namespace = self.namespaces.get(namespace);
        namespace.is_some_and(|namespace| Namespace::fails_closed(namespace))
    }
}

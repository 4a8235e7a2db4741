//! What policies look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_common::addr::Addr;
use mesh_common::policy::Transport;

use crate::model::desired::ObjectName;
use crate::model::object::network_policy::Selector;
pub use crate::model::object::pod::NamedPort;
use crate::model::object::{Labels, NetworkPolicy};

/// The objects that decide who may talk to whom.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The labels of each namespace, `kubernetes.io/metadata.name` among them.
    pub namespaces: BTreeMap<Arc<str>, Labels>,
    /// The pods that have a network of their own, whichever node they are on.
    pub pods: Vec<Pod>,
    /// The policies, in the order in which their rules are tried for a name to show.
    pub policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
}

/// A pod that has a network of its own.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub name: ObjectName,
    /// Its labels.
    pub labels: Labels,
    /// The addresses it says are its own.
    pub addresses: Vec<Addr>,
    /// The ports its containers name; the first of a name and protocol counts.
    pub ports: Vec<NamedPort>,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// No pod's.
    Nobody,
    /// A pod's.
    Pod(&'a Pod),
    /// More than one pod says it is its own: until that is settled, only rules for everybody apply to it.
    Unsettled,
}

impl Pod {
    /// The number of a port that a container names.
    #[must_use]
    pub fn named_port(&self, name: &str, transport: Transport) -> Option<u16> {
        let same = |port: &&NamedPort| port.name == name && port.transport == transport;
        self.ports.iter().find(same).map(|port| port.port)
    }
}

impl Cluster {
    /// Whose an address is.
    #[must_use]
    pub fn owner(&self, addr: &Addr) -> Owner<'_> {
        let mut claims = self.pods.iter().filter(|pod| pod.addresses.contains(addr));
        match (claims.next(), claims.next()) {
            (None, _) => Owner::Nobody,
            (Some(pod), None) => Owner::Pod(pod),
            (Some(_), Some(_)) => Owner::Unsettled,
        }
    }

    /// Whether a selector takes a namespace; one that is not known has no labels.
    #[must_use]
    pub fn selects_namespace(&self, selector: &Selector, namespace: &str) -> bool {
        match self.namespaces.get(namespace) {
            Some(labels) => selector.matches(labels),
            None => selector.matches(&Labels::default()),
        }
    }
}

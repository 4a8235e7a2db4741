//! What the tables should say, in terms of Kubernetes objects; ids and slots are the ledger's business.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use mesh_common::addr::{Addr, Port, Protocol};
use mesh_common::service::{Algorithm, Frontend};

/// Namespace and name of a Kubernetes object. A copy costs no memory of its own: names are in every index.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// From its parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// IP family of a service port.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(addr: &Addr) -> Self {
        if addr.is_v4() { Self::V4 } else { Self::V6 }
    }
}

/// One port of a Service in one family: the unit that has an id in the kernel.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortKey {
    /// The Service's port number.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Family.
    pub family: Family,
    /// Where clients dial it.
    pub traffic: Traffic,
}

/// Where a Service is dialled, as far as it makes a difference: `internalTrafficPolicy: Local` narrows the
/// endpoints of cluster IPs and of nothing else.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Traffic {
    /// At cluster IPs, and everywhere else where that makes no difference.
    #[default]
    Internal,
    /// At external IPs, load balancers and node ports, where cluster IPs lead elsewhere.
    External,
}

/// What the kernel should know of one Service: its ports.
pub type ServicePorts = BTreeMap<PortKey, ServicePort>;

/// One port of a Service in one family.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServicePort {
    /// Name of the port, empty where the Service gives none.
    pub port_name: String,
    /// Addresses that clients dial (cluster IPs, external IPs, node ports ...). All of the key's protocol and family;
    /// the port may differ from the key's (node ports).
    pub frontends: BTreeSet<Frontend>,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// Time-out of `ClientIP` affinity in seconds; 0 is no affinity.
    pub affinity_seconds: u32,
    /// The endpoints traffic may go to now; readiness, termination, hints and locality are already decided.
    pub endpoints: BTreeSet<Endpoint>,
}

/// An address and port that serves.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: Port,
    /// The pod behind it, where known.
    pub pod: Option<PodKey>,
}

/// A pod for as long as it lives: a new pod of the same name is another pod.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PodKey {
    /// Namespace and name.
    pub object: ObjectName,
    /// Kubernetes' uid, or what stands for it in a manifest without one.
    pub uid: Arc<str>,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}

/// What the kernel should know of one pod of the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub struct Workload {
    /// Its addresses, first the primary one.
    pub addresses: Vec<Addr>,
    /// Whether it runs on this node.
    pub local: bool,
    /// Whether it is in the mesh.
    pub enrolled: bool,
    /// Whether its own sockets may be accelerated.
    pub accelerated: bool,
    /// Whether nothing may leave it as long as it is pending.
    pub fails_closed: bool,
    /// Cookies of its network namespace where that is known; only of local, enrolled pods.
    pub netns: Option<u64>,
    /// Id of its cgroup where that is known; it is pending as long as its network namespace is not.
    pub cgroup: Option<u64>,
}

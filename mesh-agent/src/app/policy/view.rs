//! What is known of policies, pods and the tables made of them.

use std::{collections::BTreeMap, sync::Arc};

use mesh_common::{
    addr::{Addr, Port},
    policy::Direction,
};

use crate::model::{
    desired::ObjectName,
    object::NetworkPolicy,
    policy::{Cluster, Pod, RuleRef},
};

/// What an agent knows.
pub trait PolicyView {
    /// All that decides who may talk to whom.
    fn cluster(&self) -> Cluster;

    /// The policies alone, which cost less.
    fn policies(&self) -> BTreeMap<ObjectName, Arc<NetworkPolicy>>;

    /// The pods of this node that have a network of their own, with how they stand.
    fn own_pods(&self) -> Vec<(Pod, Standing)>;

    /// How a pod stands; `None` where there is no such pod.
    fn standing(&self, pod: &ObjectName) -> Option<Standing>;

    /// Whether an address is this node's own.
    fn is_own_address(&self, addr: &Addr) -> bool;

    /// Whether what policies refuse in a namespace passes and is reported.
    fn is_audited(&self, namespace: &str) -> bool;

    /// The namespaces where that is so.
    fn audited(&self) -> Vec<String>;

    /// Whether pods of a namespace fail closed.
    fn fails_closed(&self, namespace: &str) -> bool;

    /// The endpoints behind a port of a Service, by the IANA number of the protocol; `None` where there is no such one.
    fn endpoints(&self, service: &ObjectName, port: u16, protocol: u8) -> Option<Vec<(Addr, Port)>>;

    /// What of the policies is in force.
    fn in_force(&self) -> &dyn InForce;
}

/// What was made of policies for the kernel.
pub trait InForce {
    /// The rule behind a number.
    fn rule(&self, number: u32) -> Option<RuleRef>;

    /// The policies behind the number of a rule set.
    fn set(&self, number: u32) -> Option<Vec<ObjectName>>;

    /// The rule sets that are in use: number, direction, policies.
    fn sets(&self) -> Vec<(u32, Direction, Vec<ObjectName>)>;

    /// Whether the kernel has what was planned.
    fn is_settled(&self) -> bool;

    /// `metadata.generation` of the version of a policy that is in this node's kernel, where it has one.
    fn generation(&self, policy: &ObjectName) -> Option<i64>;

    /// What found no room, and what follows from it.
    fn problems(&self) -> Vec<String>;
}

/// How a pod stands to this node and to the mesh.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// In the mesh on this node, which enforces its policies.
    Here {
        /// Its workload id; none as long as it has no place in the kernel's tables.
        workload: Option<u32>,
    },
    /// In the mesh on another node, whose agent does.
    Elsewhere,
    /// Not in the mesh: nobody of ours enforces its policies.
    Outside {
        /// Whether it is on this node.
        here: bool,
        /// The reason.
        why: String,
    },
    /// It has the network of its node, to which no policy applies.
    HostNetwork {
        /// Whether that is this node.
        here: bool,
        /// The node's addresses, as the pod has them.
        addresses: Vec<Addr>,
    },
}

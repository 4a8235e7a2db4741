//! All that is known of the cluster, kept so that a change costs what it touches.
//!
//! What comes out depends on the objects alone, never on the order they came in: a Service may be seen
//! before its slices, a slice before the pods it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_common::addr::Addr;

use crate::model::desired::{ObjectName, PodKey, ServicePorts, Workload};
use crate::model::object::{Invalid, Namespace, NetworkPolicy, ObjectRef, Pod, Unenrolled};

mod backends;
mod candidates;
mod change;
mod choice;
mod event;
mod frontends;
mod labels;
mod pair;
mod pods;
mod policies;
mod ports;
mod problems;
mod services;
mod slices;
mod standing;
#[cfg(test)]
mod tests;

pub use choice::Unused;
pub use event::{Dirty, Event};
pub use frontends::{Dialled, DialledPort};

/// The objects of a cluster, seen from one node.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    node: String,
    /// What operators wrote by hand counts: pods bound to no node, and names of network namespaces.
    by_hand: bool,
    /// Istio's labels count where ours say nothing.
    honors_istio: bool,
    zone: Option<String>,
    /// Where this node has node ports.
    node_addresses: BTreeSet<Addr>,
    /// Where in our node's `spec.taints` those are that wait for the agent.
    taints: Vec<usize>,
    /// The addresses in the host's network namespace, but for those of IPVS.
    host_addresses: BTreeSet<Addr>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
    pods: pods::Pods,
    services: services::Services,
    slices: slices::Slices,
    policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    doubts: BTreeMap<ObjectRef, Vec<Invalid>>,
}

/// A pod of this node that is in the mesh.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalPod<'a> {
    /// Which pod.
    pub key: &'a PodKey,
    /// Its addresses, first the primary one.
    pub addresses: Vec<Addr>,
    /// Path or name of its network namespace, where a manifest gives it.
    pub netns: Option<&'a str>,
    /// What the kubelet names its cgroup by, where that is certain.
    pub kubelet_id: Option<&'a str>,
}

impl Cluster {
    /// An empty cluster, seen from a node.
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            ..Self::default()
        }
    }

    /// An empty cluster that manifests describe: a pod that is bound to no node runs on this one, and may name its
    /// network namespace. In a cluster, authors of pods have no say in that.
    #[must_use]
    pub fn for_manifests(node: impl Into<String>) -> Self {
        Self {
            by_hand: true,
            ..Self::new(node)
        }
    }

    /// The same, where Istio's labels (`istio.io/dataplane-mode`) count as ours do.
    #[must_use]
    pub const fn honoring_istio(mut self, honors_istio: bool) -> Self {
        self.honors_istio = honors_istio;
        self
    }

    /// What the kernel should know of a Service; `None` where there is no such Service. One that nobody
    /// can dial has no ports.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<ServicePorts> {
        self.services.get(name).map(|service| self.ports(service))
    }

    /// What the kernel should know of a pod; `None` where there is no such pod, it has ended, or it has no
    /// network of its own. Its namespace and cgroup are for the caller to find.
    #[must_use]
    pub fn workload(&self, key: &PodKey) -> Option<Workload> {
        let pod = self.pods.get(&key.object).filter(|pod| pod.key == *key)?;
        pod.is_workload().then(|| Workload {
            addresses: self.pods.own_addresses(pod),
            local: self.is_local(pod),
            enrolled: self.is_enrolled(pod),
            accelerated: self.is_accelerated(pod),
            fails_closed: self.namespace_of(pod).is_some_and(Namespace::fails_closed),
            netns: None,
            cgroup: None,
        })
    }

    /// What a pod says of itself; `None` where there is no such pod (any more).
    #[must_use]
    pub fn pod(&self, key: &PodKey) -> Option<&Pod> {
        self.pods.get(&key.object).filter(|pod| pod.key == *key)
    }

    /// The names of all Services.
    pub fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.names()
    }

    /// All pods that have a [`Self::workload`].
    pub fn pods(&self) -> impl Iterator<Item = &PodKey> {
        self.pods
            .all()
            .filter(|pod| pod.is_workload())
            .map(|pod| &pod.key)
    }

    /// The pods of this node that are in the mesh, whose network namespaces must be found.
    pub fn local_enrolled(&self) -> impl Iterator<Item = LocalPod<'_>> {
        let pods = self.pods.all().filter(|pod| pod.is_workload());
        pods.filter(|pod| self.is_local(pod) && self.is_enrolled(pod))
            .map(|pod| self.local_pod(pod))
    }

    /// One of [`Self::local_enrolled`].
    #[must_use]
    pub fn local_enrolled_pod(&self, key: &PodKey) -> Option<LocalPod<'_>> {
        let pod = self.pods.get(&key.object).filter(|pod| pod.key == *key)?;
        let ours = pod.is_workload() && self.is_local(pod) && self.is_enrolled(pod);
        ours.then(|| self.local_pod(pod))
    }

    /// The pods of this node that ask for the mesh and are not in it, and why.
    pub fn unenrolled(&self) -> impl Iterator<Item = (&PodKey, Unenrolled)> {
        let pods = self.pods.all();
        pods.filter(|pod| self.is_kept_out(pod) && self.asks(pod))
            .filter_map(|pod| Some((&pod.key, pod.unenrolled?)))
    }

    /// The pod of that name, where it is one of this node that has not ended.
    #[must_use]
    pub fn own_pod(&self, name: &ObjectName) -> Option<&Pod> {
        let pod = self.pods.get(name)?;
        (self.is_local(pod) && !pod.has_ended()).then_some(pod)
    }

    /// Where in our node's `spec.taints` those are that wait for the agent, in order.
    #[must_use]
    pub fn taints(&self) -> &[usize] {
        &self.taints
    }

    fn local_pod<'a>(&'a self, pod: &'a Pod) -> LocalPod<'a> {
        LocalPod {
            key: &pod.key,
            addresses: self.pods.own_addresses(pod),
            netns: pod.netns.as_deref().filter(|_| self.by_hand),
            kubelet_id: self.kubelet_id(pod),
        }
    }

    /// Uid, or hash of the configuration of a static pod. Anybody may write that hash into an annotation: it counts where
    /// it can't be a uid (which have dashes) and no other pod of this node says the same.
    fn kubelet_id<'a>(&'a self, pod: &'a Pod) -> Option<&'a str> {
        let Some(hash) = &pod.config_hash else {
            return pod.has_uid.then_some(&pod.key.uid);
        };
        let is_hash = !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let claims = |other: &&Pod| other.config_hash == pod.config_hash && self.is_local(other);
        (is_hash && self.pods.all().filter(claims).count() == 1).then_some(hash)
    }

    fn is_local(&self, pod: &Pod) -> bool {
        match &pod.node {
            Some(node) => **node == *self.node,
            None => self.by_hand,
        }
    }

    fn is_enrolled(&self, pod: &Pod) -> bool {
        pod.unenrolled.is_none() && self.asks(pod)
    }

    /// Whether a pod of this node can't be in the mesh.
    fn is_kept_out(&self, pod: &Pod) -> bool {
        pod.unenrolled.is_some() && self.is_local(pod) && !pod.has_ended()
    }

    /// Whether a pod asks for the mesh: the pod's word goes before its namespace's, and ours before Istio's.
    fn asks(&self, pod: &Pod) -> bool {
        match self.own_word(pod) {
            Some(false) => self.is_overruled(pod),
            Some(true) => true,
            None => self.namespace_of(pod).is_some_and(|it| self.takes_part(it)),
        }
    }

    /// Whether a pod says that it is not in the mesh, and that does not count: where the namespace fails closed, who
    /// writes a pod can't get round what holds for all of them. What can't be in the mesh is not.
    fn is_overruled(&self, pod: &Pod) -> bool {
        let holds = |namespace: &Namespace| namespace.fails_closed() && self.takes_part(namespace);
        let could_be = pod.unenrolled.is_none() && !pod.has_ended();
        could_be && self.own_word(pod) == Some(false) && self.namespace_of(pod).is_some_and(holds)
    }

    fn own_word(&self, pod: &Pod) -> Option<bool> {
        pod.dataplane.value().or(self.istio(pod.ambient))
    }

    /// Whether a namespace asks for the mesh.
    fn takes_part(&self, namespace: &Namespace) -> bool {
        let word = namespace.dataplane.value().or(self.istio(namespace.ambient));
        word.unwrap_or(false)
    }

    /// What Istio's label says, where that counts.
    fn istio(&self, word: Option<bool>) -> Option<bool> {
        word.filter(|_| self.honors_istio)
    }

    fn is_accelerated(&self, pod: &Pod) -> bool {
        let inherited = || self.namespace_of(pod)?.acceleration.value();
        pod.acceleration.value().or_else(inherited).unwrap_or(false)
    }

    fn namespace_of(&self, pod: &Pod) -> Option<&Namespace> {
        self.namespaces.get(&*pod.key.object.namespace).map(AsRef::as_ref)
    }
}

//! What the policies in force are made from: the policies, and what they look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_common::names::NAMESPACE_NAME_LABEL;

use mesh_common::addr::Addr;

use super::Cluster;
use crate::model::desired::{ObjectName, PodKey};
use crate::model::object::network_policy::Cidr;
use crate::model::object::{Labels, NetworkPolicy};
use crate::model::policy::{NamespaceFacts, PodFacts};

impl Cluster {
    /// A policy; `None` where there is no such one.
    #[must_use]
    pub fn policy(&self, name: &ObjectName) -> Option<Arc<NetworkPolicy>> {
        self.policies.get(name).cloned()
    }

    /// The names of all policies.
    pub fn policies(&self) -> impl Iterator<Item = &ObjectName> {
        self.policies.keys()
    }

    /// What policies see of a namespace; `None` where nothing is known of it. One that has pods and no object has its
    /// name, as every namespace does.
    #[must_use]
    pub fn namespace_facts(&self, name: &str) -> Option<NamespaceFacts> {
        let Some(namespace) = self.namespaces.get(name) else {
            return self.is_known(name).then(|| NamespaceFacts {
                labels: Labels::from(BTreeMap::from([(
                    NAMESPACE_NAME_LABEL.to_owned(),
                    name.to_owned(),
                )])),
                audited: false,
            });
        };
        Some(NamespaceFacts {
            labels: namespace.labels.clone(),
            audited: namespace.is_audited(),
        })
    }

    /// The names of all namespaces that have [`Self::namespace_facts`].
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        let with_object = self.namespaces.keys().map(String::as_str);
        let names: BTreeSet<_> = with_object.chain(self.pods.namespaces()).collect();
        names.into_iter()
    }

    /// What policies see of a pod; `None` where there is no such pod, it has ended, or it has no network of its own.
    #[must_use]
    pub fn policy_pod(&self, key: &PodKey) -> Option<PodFacts> {
        let pod = self.pod(key).filter(|pod| pod.is_workload())?;
        Some(PodFacts {
            labels: pod.labels.clone(),
            addresses: pod.addresses.clone(),
            ports: pod.ports.clone(),
        })
    }

    /// What the pods of a namespace may send from besides their own addresses.
    #[must_use]
    pub fn allowed_sources(&self, namespace: &str) -> &[Cidr] {
        self.namespaces
            .get(namespace)
            .map_or(&[], |namespace| &namespace.allowed_sources)
    }

    /// Whether what the policies of a namespace's pods refuse passes, and is reported.
    #[must_use]
    pub fn is_audited(&self, namespace: &str) -> bool {
        self.namespaces
            .get(namespace)
            .is_some_and(|namespace| namespace.is_audited())
    }

    /// Whether an address is one of the host's network namespace.
    #[must_use]
    pub fn is_host_address(&self, addr: &Addr) -> bool {
        self.host_addresses.contains(addr)
    }

    /// Whether there is anything in a namespace that policies look at, or the namespace itself.
    pub(super) fn is_known(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace) || self.pods.in_namespace(namespace).next().is_some()
    }
}

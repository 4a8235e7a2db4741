//! The pods of the cluster, by everything they are asked for by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_common::addr::Addr;

use super::pair::{Pair, rarest};
use crate::model::desired::{ObjectName, PodKey};
use crate::model::groups::Groups;
use crate::model::object::{Pod, Service};

/// All pods.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    all: BTreeMap<Arc<ObjectName>, Arc<Pod>>,
    by_address: Groups<Addr, Arc<ObjectName>>,
    by_label: Groups<Pair, Arc<ObjectName>>,
    by_namespace: Groups<Arc<str>, Arc<ObjectName>>,
    contested: BTreeSet<Addr>,
}

impl Pods {
    pub(super) fn get(&self, name: &ObjectName) -> Option<&Pod> {
        self.all.get(name).map(AsRef::as_ref)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Pod> {
        self.all.values().map(AsRef::as_ref)
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        self.by_namespace.get(namespace).filter_map(|name| self.get(name))
    }

    /// The namespaces that have pods.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.by_namespace.keys().map(AsRef::as_ref)
    }

    /// The pods a Service selects.
    pub(super) fn selected_by(&self, service: &Service) -> impl Iterator<Item = &Pod> {
        let pair = rarest(&service.name.namespace, &service.selector, &self.by_label);
        let names = pair.map(|pair| self.by_label.get(&pair).collect::<Vec<_>>());
        let pods = names.into_iter().flatten().filter_map(|name| self.get(name));
        pods.filter(|pod| service.selects(&pod.labels))
    }

    /// The pods that say an address is theirs.
    pub(super) fn claimants(&self, addr: &Addr) -> impl Iterator<Item = &Pod> {
        self.by_address.get(addr).filter_map(|name| self.get(name))
    }

    /// The pod an address belongs to. An address is used again while the API still shows the pod that had
    /// it: a pod that is not ending goes before one that is, and a newer one before an older one.
    pub(super) fn owner(&self, addr: &Addr) -> Option<&Pod> {
        self.claimants(addr)
            .max_by_key(|pod| (!pod.is_ending(), pod.created, &pod.key))
    }

    /// The addresses of a pod that belong to no other.
    pub(super) fn own_addresses(&self, pod: &Pod) -> Vec<Addr> {
        let owns = |addr: &Addr| self.owner(addr).is_some_and(|owner| owner.key == pod.key);
        pod.addresses.iter().copied().filter(owns).collect()
    }

    /// Addresses that more than one pod claims, each with a pod that is not ending and does not get it.
    pub(super) fn contested(&self) -> impl Iterator<Item = (Addr, &Pod, &PodKey)> {
        self.contested.iter().flat_map(|addr| {
            let owner = self.owner(addr);
            let losers = self.claimants(addr).filter_map(move |pod| {
                let owner = &owner?.key;
                (*owner != pod.key && !pod.is_ending()).then_some((*addr, pod, owner))
            });
            losers.collect::<Vec<_>>()
        })
    }

    /// Puts a pod in the place of the one of that name, or removes it.
    pub(super) fn replace(&mut self, name: &ObjectName, pod: Option<Arc<Pod>>) {
        if let Some((name, old)) = self.all.remove_entry(name) {
            self.unindex(&name, &old);
        }
        if let Some(pod) = pod {
            let name = Arc::new(name.clone());
            self.index(&name, &pod);
            self.all.insert(name, pod);
        }
    }

    fn index(&mut self, name: &Arc<ObjectName>, pod: &Pod) {
        self.by_namespace.insert(name.namespace.clone(), name.clone());
        for pair in Pair::all(&name.namespace, &pod.labels) {
            self.by_label.insert(pair, name.clone());
        }
        for &addr in claims(pod) {
            self.by_address.insert(addr, name.clone());
            if self.by_address.len(&addr) > 1 {
                self.contested.insert(addr);
            }
        }
    }

    fn unindex(&mut self, name: &ObjectName, pod: &Pod) {
        self.by_namespace.remove(&name.namespace, name);
        for pair in Pair::all(&name.namespace, &pod.labels) {
            self.by_label.remove(&pair, name);
        }
        for addr in claims(pod) {
            self.by_address.remove(addr, name);
            if self.by_address.len(addr) < 2 {
                self.contested.remove(addr);
            }
        }
    }
}

/// The addresses a pod claims for itself: none where it shares its node's or is done with them.
fn claims(pod: &Pod) -> &[Addr] {
    if pod.is_workload() { &pod.addresses } else { &[] }
}

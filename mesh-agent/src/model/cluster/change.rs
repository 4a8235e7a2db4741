//! Takes in changes, and says what each may have touched.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_common::addr::Addr;

use super::{Cluster, Dirty, Event};
use crate::model::desired::{ObjectName, PodKey};
use crate::model::object::{EndpointSlice, Namespace, NetworkPolicy, Node, Object, ObjectRef, Pod, Service};

impl Cluster {
    /// Takes in a change and says what it may have touched.
    pub fn apply(&mut self, event: Event) -> Dirty {
        match event {
            Event::Upsert(object) => {
                self.doubt(object.reference(), Some(&object));
                match object {
                    Object::Namespace(it) => self.set_namespace(&it.name.clone(), Some(it)),
                    Object::Node(it) => self.set_node(&it.name.clone(), Some(it)),
                    Object::Pod(it) => self.set_pod(&it.key.object.clone(), Some(it)),
                    Object::Service(it) => self.set_service(&it.name.clone(), Some(it)),
                    Object::EndpointSlice(it) => self.set_slice(&it.name.clone(), Some(it)),
                    Object::NetworkPolicy(it) => self.set_policy(&it.name.clone(), Some(it)),
                }
            }
            Event::Delete(reference) => {
                self.doubt(reference.clone(), None);
                match reference {
                    ObjectRef::Namespace(name) => self.set_namespace(&name, None),
                    ObjectRef::Node(name) => self.set_node(&name, None),
                    ObjectRef::Pod(name) => self.set_pod(&name, None),
                    ObjectRef::Service(name) => self.set_service(&name, None),
                    ObjectRef::EndpointSlice(name) => self.set_slice(&name, None),
                    ObjectRef::NetworkPolicy(name) => self.set_policy(&name, None),
                }
            }
        }
    }

    /// Takes in the addresses in the host's network namespace, where listeners of its own may be, and says what it
    /// may have touched.
    pub fn set_host_addresses(&mut self, addresses: BTreeSet<Addr>) -> Dirty {
        let changed: BTreeSet<Addr> = self
            .host_addresses
            .symmetric_difference(&addresses)
            .copied()
            .collect();
        self.host_addresses = addresses;
        Dirty {
            services: self.services.dialled_at(&changed).cloned().collect(),
            ..Dirty::default()
        }
    }

    fn doubt(&mut self, reference: ObjectRef, object: Option<&Object>) {
        match object.map(Object::doubtful).unwrap_or_default() {
            none if none.is_empty() => drop(self.doubts.remove(&reference)),
            some => drop(self.doubts.insert(reference, some)),
        }
    }

    fn set_namespace(&mut self, name: &str, namespace: Option<Arc<Namespace>>) -> Dirty {
        let seen = self.namespace_facts(name);
        let former = self.namespaces.remove(name);
        let same = for_pods(former.as_deref()) == for_pods(namespace.as_deref());
        if let Some(namespace) = namespace {
            self.namespaces.insert(name.to_owned(), namespace);
        }
        let mut dirty = Dirty::default();
        if !same {
            dirty.pods = workload_keys(self.pods.in_namespace(name)).collect();
        }
        if self.namespace_facts(name) != seen {
            dirty.namespaces.insert(name.to_owned());
        }
        dirty
    }

    /// Of the nodes only our own matters: its zone to Services with hints, its addresses to those with node ports. Its
    /// taints touch nothing.
    fn set_node(&mut self, name: &str, node: Option<Arc<Node>>) -> Dirty {
        let mut dirty = Dirty::default();
        if name != self.node {
            return dirty;
        }
        let (zone, addresses, taints) = node.map_or_else(Default::default, |node| {
            (node.zone.clone(), node.addresses.clone(), node.taints.clone())
        });
        self.taints = taints;
        if self.zone != zone {
            self.zone = zone;
            dirty.services.extend(self.slices.services_with_zones().cloned());
        }
        if self.node_addresses != addresses {
            self.node_addresses = addresses;
            dirty.services.extend(self.services.with_node_ports().cloned());
        }
        dirty
    }

    fn set_service(&mut self, name: &ObjectName, service: Option<Arc<Service>>) -> Dirty {
        if self.services.get(name) == service.as_deref() {
            return Dirty::default();
        }
        self.services.replace(name, service);
        Dirty {
            services: BTreeSet::from([name.clone()]),
            ..Dirty::default()
        }
    }

    fn set_slice(&mut self, name: &ObjectName, slice: Option<Arc<EndpointSlice>>) -> Dirty {
        let old = self.slices.get(name);
        if old == slice.as_deref() {
            return Dirty::default();
        }
        let services = [old, slice.as_deref()].into_iter().flatten();
        let services = services.filter_map(|it| it.service.clone()).collect();
        self.slices.replace(name, slice);
        Dirty {
            services,
            ..Dirty::default()
        }
    }

    fn set_policy(&mut self, name: &ObjectName, policy: Option<Arc<NetworkPolicy>>) -> Dirty {
        if self.policies.get(name) == policy.as_ref() {
            return Dirty::default();
        }
        match policy {
            Some(policy) => drop(self.policies.insert(name.clone(), policy)),
            None => drop(self.policies.remove(name)),
        }
        Dirty {
            policies: BTreeSet::from([name.clone()]),
            ..Dirty::default()
        }
    }

    fn set_pod(&mut self, name: &ObjectName, pod: Option<Arc<Pod>>) -> Dirty {
        let old = self.pods.get(name);
        if old == pod.as_deref() {
            return Dirty::default();
        }
        // Most changes of a pod are of its readiness, which slices repeat: they are for the slice to tell.
        let moved = match (old, &pod) {
            (Some(old), Some(new)) => whereabouts(old) != whereabouts(new),
            _ => true,
        };
        let both = || old.into_iter().chain(pod.as_deref());
        let addresses: BTreeSet<Addr> = both().flat_map(|pod| pod.addresses.iter().copied()).collect();

        let mut dirty = Dirty {
            pods: both().map(|pod| pod.key.clone()).collect(),
            services: both().flat_map(|pod| self.deriving_from(pod)).collect(),
            ..Dirty::default()
        };
        if moved {
            self.claims_change(&addresses, &mut dirty);
            dirty.services.extend(self.slices.services_naming(name).cloned());
        }
        let was_known = self.is_known(&name.namespace);
        self.pods.replace(name, pod);
        if self.is_known(&name.namespace) != was_known {
            dirty.namespaces.insert(name.namespace.to_string());
        }
        dirty
    }

    /// The Services that derive their endpoints from a pod: none in a cluster, whose controller writes slices.
    fn deriving_from(&self, pod: &Pod) -> impl Iterator<Item = ObjectName> {
        let services = self.by_hand.then(|| self.services.selecting(pod));
        services
            .into_iter()
            .flatten()
            .filter(|service| !self.slices.has(&service.name))
            .map(|service| service.name.clone())
    }

    /// Whom it concerns when addresses change hands: other pods that claim them, what derives from those,
    /// and the Services that have them for endpoints.
    fn claims_change(&self, addresses: &BTreeSet<Addr>, dirty: &mut Dirty) {
        for addr in addresses {
            for pod in self.pods.claimants(addr) {
                dirty.pods.insert(pod.key.clone());
                dirty.services.extend(self.deriving_from(pod));
            }
            dirty.services.extend(self.slices.services_at(addr).cloned());
        }
    }
}

/// What a namespace says of its pods. One that says nothing is as good as none.
fn for_pods(namespace: Option<&Namespace>) -> impl PartialEq {
    namespace.map_or_else(Default::default, |it| {
        (
            it.dataplane.value(),
            it.ambient,
            it.acceleration.value(),
            it.fails_closed(),
            it.allowed_sources.clone(),
        )
    })
}

/// What others see of a pod, besides whether it is ready.
fn whereabouts(pod: &Pod) -> impl PartialEq {
    (
        pod.key.clone(),
        pod.has_uid,
        pod.is_workload(),
        pod.addresses.clone(),
        pod.node.clone(),
        pod.is_ending(),
        pod.created,
    )
}

fn workload_keys<'a>(pods: impl Iterator<Item = &'a Pod>) -> impl Iterator<Item = PodKey> {
    pods.filter(|pod| pod.is_workload()).map(|pod| pod.key.clone())
}

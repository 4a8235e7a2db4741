//! What the kernel holds of services, backends and pods, under their names.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use mesh_common::{
    addr::{Addr, socket_addr},
    service::{Backend, Frontend, Member, ServiceInfo, Slot},
    tag::Tagged,
    workload::PodRef,
};
use serde::Serialize;

use crate::{
    app::names::{Labels, Names, ServiceName, UnenrolledName},
    model::op::Observed,
    pods::unobserved::Unobserved,
};

/// An id of the kernel and the name behind it, where that is known.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The id; 0 for what has none in the kernel.
    #[serde(skip_serializing_if = "is_none")]
    pub id: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
const fn is_none(id: &u32) -> bool {
    *id == 0
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, "{namespace}/{name}"),
            _ => write!(f, "id:{}", self.id),
        }
    }
}

impl Named {
    /// The namespace for a table.
    pub fn namespace_cell(&self) -> String {
        self.namespace.clone().unwrap_or_else(|| "-".to_owned())
    }

    /// The name for a table.
    pub fn name_cell(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.to_string())
    }
}

/// The tables, by their keys, and the names.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The names.
    pub names: Names,
    /// Facts of services by service id.
    pub services: BTreeMap<u32, ServiceInfo>,
    /// What clients dial, by service id, in order.
    pub frontends: BTreeMap<u32, Vec<Frontend>>,
    /// How many slots each backend has, by service id.
    pub slots: BTreeMap<u32, BTreeMap<u32, u32>>,
    /// Backends by backend id; those that a slot names.
    pub backends: BTreeMap<u32, Backend>,
    /// `MEMBERS`.
    pub members: Vec<Member>,
    /// Workloads by address.
    pub workloads: BTreeMap<Addr, Tagged>,
    /// Pods of this node by the cookie of their network namespace.
    pub pods: BTreeMap<u64, PodRef>,
    /// Pending pods by the id of their cgroup.
    pub pending: BTreeMap<u64, PodRef>,
    /// Sockets that nobody observes, as far as an agent has noted them.
    pub unobserved: Unobserved,
}

impl Held {
    /// From what was read.
    pub fn new(observed: Observed, names: Names, unobserved: Unobserved) -> Self {
        let mut frontends: BTreeMap<u32, Vec<Frontend>> = BTreeMap::new();
        for (frontend, value) in observed.frontends {
            frontends.entry(value.id()).or_default().push(frontend);
        }
        for list in frontends.values_mut() {
            list.sort_by_key(|frontend| socket_addr(frontend.addr, frontend.port));
        }
        let regions: BTreeMap<u32, Vec<Slot>> = observed.regions.into_iter().collect();
        let services: BTreeMap<u32, ServiceInfo> = observed.services.into_iter().collect();
        let slots = services
            .iter()
            .map(|(&id, info)| (id, count(id, regions.get(&info.region.offset()))));
        Self {
            slots: slots.collect(),
            names,
            services,
            frontends,
            backends: observed.backends.into_iter().collect(),
            members: observed.members,
            workloads: observed.workloads.into_iter().collect(),
            pods: observed.pods.into_iter().collect(),
            pending: observed.pending.into_iter().collect(),
            unobserved,
        }
    }

    /// The names alone, where nothing of the tables is needed.
    pub fn named(names: Names) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// The service with an id; `None` for 0, which is none.
    pub fn service(&self, id: u32) -> Option<Named> {
        let known = self.names.services.get(&id);
        (id != 0).then(|| Named {
            id,
            namespace: known.map(|service| service.namespace.clone()),
            name: known.map(|service| service.name.clone()),
        })
    }

    /// The port of the service with an id.
    pub fn service_port(&self, id: u32) -> Option<&ServiceName> {
        self.names.services.get(&id)
    }

    /// The pod with a workload id; `None` for 0, which is none.
    pub fn pod(&self, id: u32) -> Option<Named> {
        let known = self.names.workloads.get(&id);
        (id != 0).then(|| Named {
            id,
            namespace: known.map(|pod| pod.namespace.clone()),
            name: known.map(|pod| pod.name.clone()),
        })
    }

    /// Why a pod of this node that asks for the mesh is not in it, if so.
    pub fn unenrolled(&self, pod: &Named) -> Option<&str> {
        let mut all = self.names.unenrolled.iter();
        let is_meant = |it: &&UnenrolledName| {
            pod.namespace.as_ref() == Some(&it.pod.namespace) && pod.name.as_ref() == Some(&it.pod.name)
        };
        all.find(is_meant).map(|it| it.why.as_str())
    }

    /// The labels of the service with an id, where they are known.
    pub fn service_labels(&self, id: u32) -> Option<Labels<'_>> {
        self.names.labels(self.names.services.get(&id)?.labels)
    }

    /// The labels of the pod with a workload id, where they are known.
    pub fn pod_labels(&self, id: u32) -> Option<Labels<'_>> {
        self.names.labels(self.names.workloads.get(&id)?.labels)
    }

    /// The policies a rule set was made of, where they are known.
    pub fn policies_of(&self, set: u32) -> Option<String> {
        let known = self.names.policy_sets.get(&set)?;
        Some(known.policies.join(","))
    }

    /// The direction of a rule set, where it is known.
    pub fn direction_of(&self, set: u32) -> Option<&str> {
        self.names.policy_sets.get(&set).map(|set| set.direction.as_str())
    }

    /// The pod an address belongs to.
    pub fn pod_at(&self, addr: Addr) -> Option<Named> {
        self.workloads.get(&addr).and_then(|value| self.pod(value.id()))
    }

    /// The pod of a network namespace.
    pub fn pod_in(&self, netns: u64) -> Option<Named> {
        self.pods.get(&netns).and_then(|pod| self.pod(pod.workload.id()))
    }

    /// Addresses of a workload, in order.
    pub fn addresses(&self, workload: u32) -> Vec<IpAddr> {
        let own = self.workloads.iter().filter(|(_, value)| value.id() == workload);
        let mut addresses: Vec<IpAddr> = own.map(|(addr, _)| IpAddr::from(*addr)).collect();
        addresses.sort_unstable();
        addresses
    }

    /// Where a backend listens.
    pub fn backend_address(&self, id: u32) -> Option<SocketAddr> {
        self.backends
            .get(&id)
            .map(|backend| socket_addr(backend.addr, backend.port))
    }

    /// Services that send to a backend.
    pub fn services_of(&self, backend: u32) -> Vec<Named> {
        let sending = self
            .slots
            .iter()
            .filter(|(_, slots)| slots.contains_key(&backend));
        let mut services: Vec<Named> = sending.filter_map(|(&id, _)| self.service(id)).collect();
        services.sort();
        services
    }
}

/// Slots of each backend; those of another service are stale and nobody's.
fn count(service: u32, slots: Option<&Vec<Slot>>) -> BTreeMap<u32, u32> {
    let mut counts = BTreeMap::new();
    for slot in slots.into_iter().flatten().filter(|slot| slot.service == service) {
        *counts.entry(slot.backend).or_default() += 1;
    }
    counts
}

#[cfg(test)]
pub mod sample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_back_to_ids() {
        let held = sample::held();
        assert_eq!(held.service(1).unwrap().to_string(), "shop/web");
        assert_eq!(held.service(9).unwrap().to_string(), "id:9");
        assert_eq!(held.service(0), None);
        assert_eq!(held.pod(4).unwrap().to_string(), "id:4");
    }

    #[test]
    fn slots_of_another_service_do_not_count() {
        let slots = vec![
            Slot {
                backend: 1,
                service: 1,
            },
            Slot {
                backend: 2,
                service: 7,
            },
        ];
        assert_eq!(count(1, Some(&slots)), [(1, 1)].into());
        assert_eq!(count(1, None), BTreeMap::new());
    }

    #[test]
    fn a_backend_knows_its_services() {
        let held = sample::held();
        let services: Vec<_> = held.services_of(2).iter().map(ToString::to_string).collect();
        assert_eq!(services, ["shop/web"]);
        assert_eq!(held.services_of(99), []);
    }
}

//! A Service as the kernel should know it.

use std::collections::{BTreeMap, BTreeSet};

use mesh_common::addr::{Addr, Port};
use mesh_common::service::Frontend;

use super::Cluster;
use super::choice::{Candidate, Unused, Viewpoint, choose, why_not};
use super::frontends::key;
use crate::model::desired::{
    Endpoint, Family, ObjectName, PodKey, PortKey, ServicePort, ServicePorts, Traffic,
};
use crate::model::object::{Service, service};

impl Cluster {
    /// All ports of a Service, in each family that it has an address of.
    pub(super) fn ports(&self, service: &Service) -> ServicePorts {
        let mut ports = ServicePorts::new();
        for port in &service.ports {
            let frontends = self.by_key(service, port);
            if frontends.is_empty() {
                continue;
            }
            let candidates = self.candidates(service, port);
            for (key, frontends) in frontends {
                let chosen = choose(of_family(&candidates, key), self.viewpoint(service, key));
                let port = ServicePort {
                    port_name: port.name.clone(),
                    frontends,
                    algorithm: service.algorithm.value().unwrap_or_default(),
                    affinity_seconds: service.affinity_seconds,
                    endpoints: self.collapse(&chosen),
                };
                ports.insert(key, port);
            }
        }
        ports
    }

    /// The endpoints of a port of a Service that are not used now, each with the reason.
    #[must_use]
    pub fn unused(&self, name: &ObjectName, wanted: PortKey) -> Vec<(Endpoint, Unused)> {
        let service = self.services.get(name).into_iter();
        let ports = service.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
        let mut ports = ports.filter(|(service, port)| self.by_key(service, port).contains_key(&wanted));
        let Some((service, port)) = ports.next() else {
            return Vec::new();
        };
        let view = self.viewpoint(service, wanted);
        let mut rest = of_family(&self.candidates(service, port), wanted);
        let used = self.collapse(&choose(rest.clone(), view));
        let is_used = |it: &Candidate<'_>| {
            used.iter()
                .any(|used| (used.addr, used.port.get()) == (it.addr, it.port))
        };
        rest.retain(|it| !is_used(it));
        let endpoints = self.collapse(&rest).into_iter();
        let why = |endpoint: &Endpoint| {
            let is_it = |it: &&Candidate<'_>| (it.addr, it.port) == (endpoint.addr, endpoint.port.get());
            rest.iter().find(is_it).map(|it| why_not(it, view))
        };
        endpoints
            .filter_map(|endpoint| Some((endpoint.clone(), why(&endpoint)?)))
            .collect()
    }

    /// What clients dial to reach a port and is not left to the host.
    fn by_key(
        &self,
        service: &Service,
        port: &service::ServicePort,
    ) -> BTreeMap<PortKey, BTreeSet<Frontend>> {
        let mut frontends: BTreeMap<PortKey, BTreeSet<Frontend>> = BTreeMap::new();
        for dialled in self.frontends(service, port).filter(|it| it.untouched.is_none()) {
            let key = key(service, port, &dialled);
            frontends.entry(key).or_default().insert(dialled.frontend);
        }
        frontends
    }

    fn viewpoint(&self, service: &Service, key: PortKey) -> Viewpoint<'_> {
        Viewpoint {
            node: &self.node,
            zone: self.zone.as_deref(),
            local_only: service.local_only && key.traffic == Traffic::Internal,
        }
    }

    /// Each address and port once. Where two candidates disagree about the pod, the address decides.
    fn collapse(&self, chosen: &[Candidate<'_>]) -> BTreeSet<Endpoint> {
        let mut pods: BTreeMap<(Addr, u16), Option<&PodKey>> = BTreeMap::new();
        for candidate in chosen {
            let pod = pods
                .entry((candidate.addr, candidate.port))
                .or_insert(candidate.pod);
            if *pod != candidate.pod {
                *pod = self.owner_key(candidate.addr);
            }
        }
        let endpoint = |((addr, port), pod): ((Addr, u16), Option<&PodKey>)| Endpoint {
            addr,
            port: Port::new(port),
            pod: pod.cloned(),
        };
        pods.into_iter().map(endpoint).collect()
    }
}

fn of_family<'a>(candidates: &[Candidate<'a>], key: PortKey) -> Vec<Candidate<'a>> {
    let mine = candidates.iter().filter(|it| Family::of(&it.addr) == key.family);
    mine.cloned().collect()
}

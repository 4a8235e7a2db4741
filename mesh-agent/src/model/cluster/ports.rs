//! A Service as the kernel should know it.

use std::collections::{BTreeMap, BTreeSet};

use mesh_common::addr::{Addr, Port};
use mesh_common::service::Frontend;

use super::Cluster;
use super::choice::{Candidate, Viewpoint, choose};
use crate::model::desired::{Endpoint, Family, PodKey, PortKey, ServicePort, ServicePorts};
use crate::model::object::{Service, service};

impl Cluster {
    /// All ports of a Service, in each family that it has an address of.
    pub(super) fn ports(&self, service: &Service) -> ServicePorts {
        let mut ports = ServicePorts::new();
        let families: BTreeSet<Family> = service.addresses.iter().map(Family::of).collect();
        if families.is_empty() {
            return ports;
        }
        for port in &service.ports {
            let candidates = self.candidates(service, port);
            for &family in &families {
                let mine = candidates.iter().filter(|it| Family::of(&it.addr) == family);
                let key = PortKey {
                    port: port.port,
                    protocol: port.protocol,
                    family,
                };
                ports.insert(key, self.port(service, port, family, mine.cloned().collect()));
            }
        }
        ports
    }

    fn port(
        &self,
        service: &Service,
        port: &service::ServicePort,
        family: Family,
        candidates: Vec<Candidate<'_>>,
    ) -> ServicePort {
        let addresses = service.addresses.iter().filter(|it| Family::of(it) == family);
        let frontend = |addr: &Addr| Frontend::new(*addr, Port::new(port.port), port.protocol);
        let view = Viewpoint {
            node: &self.node,
            zone: self.zone.as_deref(),
            local_only: service.local_only,
            publish_not_ready: service.publish_not_ready,
        };
        ServicePort {
            port_name: port.name.clone(),
            frontends: addresses.map(frontend).collect(),
            algorithm: service.algorithm.value().unwrap_or_default(),
            affinity_seconds: service.affinity_seconds,
            endpoints: self.collapse(&choose(candidates, view)),
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

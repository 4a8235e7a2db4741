//! A Service as the kernel should know it.

use std::collections::{BTreeMap, BTreeSet};

use mesh_common::addr::{Addr, Port};
use mesh_common::service::Frontend;

use super::Cluster;
use super::choice::{Candidate, Viewpoint, choose};
use super::frontends::key;
use crate::model::desired::{Endpoint, Family, PodKey, PortKey, ServicePort, ServicePorts, Traffic};
use crate::model::object::Service;

impl Cluster {
    /// All ports of a Service, in each family that it has an address of.
    pub(super) fn ports(&self, service: &Service) -> ServicePorts {
        let mut ports = ServicePorts::new();
        for port in &service.ports {
            let mut frontends: BTreeMap<PortKey, BTreeSet<Frontend>> = BTreeMap::new();
            let ours = self.frontends(service, port).filter(|it| it.untouched.is_none());
            for dialled in ours {
                let key = key(service, port, &dialled);
                frontends.entry(key).or_default().insert(dialled.frontend);
            }
            if frontends.is_empty() {
                continue;
            }
            let candidates = self.candidates(service, port);
            for (key, frontends) in frontends {
                let mine = candidates.iter().filter(|it| Family::of(&it.addr) == key.family);
                let chosen = choose(mine.cloned().collect(), self.viewpoint(service, key.traffic));
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

    fn viewpoint(&self, service: &Service, traffic: Traffic) -> Viewpoint<'_> {
        Viewpoint {
            node: &self.node,
            zone: self.zone.as_deref(),
            local_only: service.local_only && traffic == Traffic::Internal,
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

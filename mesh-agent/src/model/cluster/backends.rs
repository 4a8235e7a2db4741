//! What [`crate::model::ending`] asks of the cluster.

use mesh_common::addr::{Addr, Port, Protocol};

use super::Cluster;
use crate::model::desired::{ObjectName, PodKey};
use crate::model::ending::Endpoints;
use crate::model::object::endpoint_slice::TargetPod;

impl Cluster {
    /// All UDP endpoints of a Service, whether or not they are used now; none where there is no such Service.
    #[must_use]
    pub fn endpoints_over_udp(&self, name: &ObjectName) -> Endpoints {
        let mut endpoints = Endpoints::new();
        let Some(service) = self.services.get(name) else {
            return endpoints;
        };
        let ports = service.ports.iter().filter(|port| port.protocol == Protocol::Udp);
        for candidate in ports.flat_map(|port| self.candidates(service, port)) {
            let serves = candidate.conditions.ready || candidate.conditions.serving;
            let place = (candidate.addr, Port::new(candidate.port));
            *endpoints.entry(place).or_default() |= serves;
        }
        endpoints
    }

    /// Whether a slice says that a pod other than this one, which is gone, has an address.
    #[must_use]
    pub fn is_announced(&self, addr: Addr, gone: Option<&PodKey>) -> bool {
        let is_other = |target: &TargetPod| {
            gone.is_none_or(|pod| match &target.uid {
                Some(uid) => *uid != pod.uid,
                None => target.name != pod.object,
            })
        };
        let endpoints = self.slices.at(&addr).flat_map(|slice| &slice.endpoints);
        let here = endpoints.filter(|endpoint| endpoint.addr == addr);
        here.filter_map(|endpoint| endpoint.target.as_ref()).any(is_other)
    }

    /// The Services that are dialled at an address, on whichever port.
    pub fn dialled_at(&self, addr: Addr) -> impl Iterator<Item = &ObjectName> {
        let at_nodes = self.node_addresses.contains(&addr);
        let at_nodes = at_nodes.then(|| self.services.with_node_ports());
        self.services.at(addr).chain(at_nodes.into_iter().flatten())
    }
}

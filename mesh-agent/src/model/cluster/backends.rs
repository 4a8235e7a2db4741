//! What [`crate::model::ending`] asks of the cluster.

use mesh_common::addr::{Addr, Port, Protocol};

use super::Cluster;
use crate::model::desired::ObjectName;
use crate::model::ending::Endpoints;

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

    /// The Services that are dialled at an address, on whichever port.
    pub fn dialled_at(&self, addr: Addr) -> impl Iterator<Item = &ObjectName> {
        let at_nodes = self.node_addresses.contains(&addr);
        let at_nodes = at_nodes.then(|| self.services.with_node_ports());
        self.services.at(addr).chain(at_nodes.into_iter().flatten())
    }
}

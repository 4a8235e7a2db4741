//! What clients dial to reach a port of a Service, and what of that is left to the host.

use mesh_common::addr::{Addr, Port};
use mesh_common::service::Frontend;

use super::Cluster;
use crate::model::desired::{Family, ObjectName, PortKey, Traffic};
use crate::model::object::Service;
use crate::model::object::service::{FrontendType, ServicePort, Untouched};

/// One address and port that clients dial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dialled {
    /// The address and port.
    pub frontend: Frontend,
    /// Why clients dial it.
    pub kind: FrontendType,
    /// Why it is left to the host, where it is.
    pub untouched: Option<Untouched>,
}

/// A port of a Service with all that clients dial to reach it.
#[derive(Clone, Debug)]
pub struct DialledPort<'a> {
    /// The Service.
    pub service: &'a Service,
    /// The port.
    pub port: &'a ServicePort,
    /// What clients dial.
    pub frontends: Vec<Dialled>,
}

impl Cluster {
    /// The ports of a Service with all that clients dial to reach them; none where there is no such Service.
    pub fn dialled(&self, name: &ObjectName) -> impl Iterator<Item = DialledPort<'_>> {
        self.services.get(name).into_iter().flat_map(|service| {
            service.ports.iter().map(|port| DialledPort {
                service,
                port,
                frontends: self.frontends(service, port).collect(),
            })
        })
    }

    /// What clients dial to reach a port.
    pub(super) fn frontends(&self, service: &Service, port: &ServicePort) -> impl Iterator<Item = Dialled> {
        let dialled = move |addr: &Addr, number: u16, kind, untouched| Dialled {
            frontend: Frontend::new(*addr, Port::new(number), port.protocol),
            kind,
            untouched,
        };
        // All ports of an address of the host are the host's: its listeners must see the packets.
        let of_host = |addr| {
            self.host_addresses
                .contains(addr)
                .then_some(Untouched::HostAddress)
        };
        let own = service.addresses.iter();
        let own = own.map(move |(addr, &kind)| dialled(addr, port.port, kind, of_host(addr)));
        let others = service.untouched.iter();
        let others =
            others.map(move |(addr, &why)| dialled(addr, port.port, FrontendType::LoadBalancer, Some(why)));
        let node_ports = port.node_port.into_iter().flat_map(move |number| {
            let served = self
                .node_addresses
                .iter()
                .filter(|it| service.serves(Family::of(it)));
            served.map(move |addr| dialled(addr, number, FrontendType::NodePort, None))
        });
        own.chain(others).chain(node_ports)
    }
}

impl DialledPort<'_> {
    /// Under which key of the Service the kernel knows a frontend.
    #[must_use]
    pub fn key(&self, dialled: &Dialled) -> PortKey {
        key(self.service, self.port, dialled)
    }
}

/// Under which key of its Service the kernel knows a frontend.
pub(super) fn key(service: &Service, port: &ServicePort, dialled: &Dialled) -> PortKey {
    let apart = service.local_only && dialled.kind != FrontendType::ClusterIp;
    PortKey {
        port: port.port,
        protocol: port.protocol,
        family: Family::of(&dialled.frontend.addr),
        traffic: if apart {
            Traffic::External
        } else {
            Traffic::Internal
        },
    }
}

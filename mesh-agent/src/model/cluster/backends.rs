//! All endpoints of a Service, whether or not they are used now.

use mesh_common::addr::Port;

use super::Cluster;
use crate::model::desired::ObjectName;
use crate::model::ending::{Backends, Listener, State};

impl Cluster {
    /// What [`crate::model::ending`] must know of a Service; nothing where there is no such Service.
    #[must_use]
    pub fn backends(&self, name: &ObjectName) -> Backends {
        let mut backends = Backends::new();
        let ports = self.services.get(name).into_iter();
        let ports = ports.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
        for (service, port) in ports {
            for candidate in self.candidates(service, port) {
                let listener = Listener {
                    addr: candidate.addr,
                    port: Port::new(candidate.port),
                    protocol: port.protocol,
                };
                let serves = candidate.conditions.ready || candidate.conditions.serving;
                let state = backends.entry(listener).or_insert_with(|| State {
                    serves,
                    pod: candidate.pod.cloned(),
                });
                state.serves |= serves;
                if state.pod.as_ref() != candidate.pod {
                    state.pod = self.owner_key(candidate.addr).cloned();
                }
            }
        }
        backends
    }
}

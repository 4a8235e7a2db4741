//! Objects and a ledger with its kernel, for tests.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mesh_common::addr::{Addr, Port, Protocol};
use mesh_common::service::{Algorithm, Frontend};

use super::kernel::Kernel;
use crate::model::desired::{
    Endpoint, Family, ObjectName, PodKey, PortKey, ServicePort, ServicePorts, Traffic, Workload,
};
use crate::model::ledger::{Capacity, Ledger, Plan, diff};

pub const SMALL: Capacity = Capacity {
    services: 64,
    service_info: 64,
    lb_table: 4_096,
    backends: 256,
    members: 256,
    workloads: 64,
    pods: 64,
    pending_pods: 64,
};

pub const TCP: PortKey = PortKey {
    port: 80,
    protocol: Protocol::Tcp,
    family: Family::V4,
    traffic: Traffic::Internal,
};
pub const UDP: PortKey = PortKey {
    protocol: Protocol::Udp,
    ..TCP
};

pub fn name(text: &str) -> ObjectName {
    ObjectName::new("shop", text)
}

pub fn pod(number: u8) -> PodKey {
    PodKey {
        object: name(&format!("pod-{number}")),
        uid: format!("uid-{number}").into(),
    }
}

pub fn pod_addr(number: u8) -> Addr {
    Ipv4Addr::new(10, 1, 0, number).into()
}

pub fn endpoint(number: u8) -> Endpoint {
    Endpoint {
        addr: pod_addr(number),
        port: Port::new(8080),
        pod: Some(pod(number)),
    }
}

pub fn frontend(number: u8) -> Frontend {
    Frontend::new(
        IpAddr::from([10, 96, 0, number]).into(),
        Port::new(80),
        Protocol::Tcp,
    )
}

pub fn port(frontends: &[u8], endpoints: &[u8]) -> ServicePort {
    ServicePort {
        port_name: "http".to_owned(),
        frontends: frontends.iter().map(|&number| frontend(number)).collect(),
        endpoints: endpoints.iter().map(|&number| endpoint(number)).collect(),
        ..ServicePort::default()
    }
}

pub fn service(frontends: &[u8], endpoints: &[u8]) -> ServicePorts {
    ServicePorts::from([(TCP, port(frontends, endpoints))])
}

pub fn maglev(frontends: &[u8], endpoints: &[u8]) -> ServicePorts {
    let algorithm = Algorithm::Maglev;
    let port = ServicePort {
        algorithm,
        ..port(frontends, endpoints)
    };
    ServicePorts::from([(TCP, port)])
}

pub fn affine(frontends: &[u8], endpoints: &[u8]) -> ServicePorts {
    let affinity_seconds = 60;
    let port = ServicePort {
        affinity_seconds,
        ..port(frontends, endpoints)
    };
    ServicePorts::from([(TCP, port)])
}

pub fn workload(addresses: &[u8], netns: Option<u64>) -> Workload {
    Workload {
        addresses: addresses.iter().map(|&number| pod_addr(number)).collect(),
        local: netns.is_some(),
        enrolled: netns.is_some(),
        netns,
        ..Workload::default()
    }
}

pub fn addresses(endpoints: &[u8]) -> BTreeSet<(Addr, Port)> {
    let endpoints = endpoints.iter().map(|&number| endpoint(number));
    endpoints.map(|endpoint| (endpoint.addr, endpoint.port)).collect()
}

/// A ledger and the kernel it writes to.
#[derive(Clone)]
pub struct Node {
    pub ledger: Ledger,
    pub kernel: Kernel,
    pub now: Duration,
}

impl Node {
    pub fn new(capacity: Capacity) -> Self {
        let kernel = Kernel::default();
        let now = Duration::from_secs(1_000);
        Self {
            ledger: Ledger::new(capacity),
            kernel,
            now,
        }
    }

    pub fn service(&mut self, text: &str, ports: Option<&ServicePorts>) -> Plan {
        let plan = self.ledger.plan_service(&name(text), ports, self.now);
        self.apply(plan)
    }

    pub fn workload(&mut self, number: u8, workload: Option<&Workload>) -> Plan {
        let plan = self.ledger.plan_workload(&pod(number), workload, self.now);
        self.apply(plan)
    }

    pub fn retire(&mut self) -> Plan {
        let plan = self.ledger.retire_unclaimed(self.now);
        self.apply(plan)
    }

    pub fn restart(&mut self, capacity: Capacity) {
        self.ledger = Ledger::adopt(&self.kernel.observe(), capacity, self.now);
    }

    pub fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    pub fn reach(&self, number: u8) -> Option<BTreeSet<(Addr, Port)>> {
        self.kernel.reach(&frontend(number))
    }

    pub fn assert_as_expected(&self) {
        assert_eq!(diff(&self.ledger.expected(), &self.kernel.observe()), []);
    }

    fn apply(&mut self, plan: Plan) -> Plan {
        self.kernel.apply_all(&plan.ops);
        plan
    }
}

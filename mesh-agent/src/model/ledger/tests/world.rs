//! Random worlds: objects that come, change and go, an agent that restarts, writes that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_common::addr::{Port, Protocol};
use mesh_common::service::{Algorithm, Frontend};
use proptest::prelude::*;

use super::fixture::*;
use super::kernel::Kernel;
use super::readers::History;
use crate::model::desired::{Endpoint, ObjectName, PodKey, PortKey, ServicePort, ServicePorts, Workload};
use crate::model::ledger::{Capacity, Ledger, Plan, REST};

#[derive(Clone, Debug)]
pub enum Step {
    Service(u8, Option<ServicePorts>),
    Workload(u8, Option<Workload>),
    Wait(u64),
    /// The agent restarts, and meanwhile a Service changed; objects come back from a given one on.
    Restart(u8, Option<ServicePorts>, usize),
    /// Only the first writes of a plan are carried out.
    Fail(u8, Option<ServicePorts>, prop::sample::Index),
}

/// `pods`: how many pods may have an address one after the other.
pub fn steps(pods: u8) -> impl Strategy<Value = Vec<Step>> {
    let service = move || {
        let which = 0..4_u8;
        which.prop_flat_map(move |which| (Just(which), prop::option::weighted(0.8, ports(which, pods))))
    };
    let step = prop_oneof![
        8 => service().prop_map(|(which, ports)| Step::Service(which, ports)),
        2 => (0..4_u8, prop::option::weighted(0.7, workloads())).prop_map(|(which, pod)| {
            let own = pod.map(|pod| own_addresses(which, &pod));
            Step::Workload(which, own)
        }),
        4 => (0..12_u64).prop_map(Step::Wait),
        1 => (service(), 0..8_usize).prop_map(|((which, ports), from)| Step::Restart(which, ports, from)),
        1 => (service(), any::<prop::sample::Index>()).prop_map(|((which, ports), at)| Step::Fail(which, ports, at)),
    ];
    prop::collection::vec(step, 1..24)
}

pub fn capacities() -> impl Strategy<Value = Capacity> {
    let tight = Capacity {
        service_info: 6,
        lb_table: 1_024,
        backends: 9,
        members: 9,
        workloads: 6,
        pods: 2,
        pending_pods: 1,
        ..SMALL
    };
    prop_oneof![Just(SMALL), Just(tight)]
}

/// Every Service has an address of its own, and perhaps one that others claim too.
pub fn ports(which: u8, pods: u8) -> impl Strategy<Value = ServicePorts> {
    let tcp = prop::option::weighted(0.8, one_port(which, Protocol::Tcp, pods));
    let udp = prop::option::weighted(0.4, one_port(which, Protocol::Udp, pods));
    (tcp, udp).prop_map(|(tcp, udp)| {
        let tcp = tcp.map(|port| (TCP, port));
        tcp.into_iter().chain(udp.map(|port| (UDP, port))).collect()
    })
}

fn one_port(which: u8, protocol: Protocol, pods: u8) -> impl Strategy<Value = ServicePort> {
    let own = Just(which + 1);
    let shared = prop::collection::btree_set(90..92_u8, 0..=2);
    let algorithm = prop_oneof![3 => Just(Algorithm::Random), 1 => Just(Algorithm::Maglev)];
    let affinity = prop_oneof![3 => Just(0), 1 => Just(60)];
    let endpoints = prop::collection::btree_set(any_endpoint(pods), 0..5);
    (own, shared, algorithm, affinity, endpoints).prop_map(
        move |(own, shared, algorithm, affinity_seconds, endpoints)| ServicePort {
            port_name: String::new(),
            frontends: shared
                .into_iter()
                .chain([own])
                .map(|number| Frontend::new(frontend(number).addr, Port::new(80), protocol))
                .collect(),
            algorithm,
            affinity_seconds,
            endpoints,
        },
    )
}

/// An address, and who is behind it: nobody known, its pod, or the pod that took the address over.
fn any_endpoint(pods: u8) -> impl Strategy<Value = Endpoint> {
    (0..8_u8, 0..=pods).prop_map(|(number, who)| Endpoint {
        pod: [None, Some(pod(number)), Some(pod(number + 100))][usize::from(who)].clone(),
        ..endpoint(number)
    })
}

fn workloads() -> impl Strategy<Value = Workload> {
    (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        0..3_usize,
    )
        .prop_map(
            |(local, enrolled, accelerated, netns, cgroup, fails_closed, addresses)| Workload {
                // Who has a namespace that was found has an address.
                addresses: vec![pod_addr(0); addresses.max(usize::from(netns))],
                local,
                enrolled,
                accelerated,
                fails_closed,
                netns: netns.then_some(0),
                cgroup: cgroup.then_some(0),
            },
        )
}

fn own_addresses(which: u8, pod: &Workload) -> Workload {
    let numbers = [which, which + 200].into_iter().take(pod.addresses.len());
    Workload {
        addresses: numbers.map(pod_addr).collect(),
        netns: pod.netns.map(|_| u64::from(which) + 1),
        cgroup: pod.cgroup.map(|_| u64::from(which) + 1),
        ..*pod
    }
}

/// What is desired, the ledger, its kernel, and all it held before.
pub struct World {
    pub services: BTreeMap<ObjectName, ServicePorts>,
    pub pods: BTreeMap<PodKey, Workload>,
    pub ledger: Ledger,
    pub kernel: Kernel,
    pub history: History,
    capacity: Capacity,
    now: Duration,
    pods_share_addresses: bool,
}

impl World {
    pub fn new(capacity: Capacity, pods: u8) -> Self {
        let kernel = Kernel::default();
        let now = Duration::from_secs(1_000);
        Self {
            services: BTreeMap::new(),
            pods: BTreeMap::new(),
            ledger: Ledger::new(capacity),
            kernel,
            history: History::default(),
            capacity,
            now,
            pods_share_addresses: pods > 1,
        }
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Service(which, ports) => {
                let name = self.desire(which, ports);
                self.plan_service(&name);
            }
            Step::Workload(which, workload) => {
                let key = pod(which);
                match workload {
                    Some(workload) => self.pods.insert(key.clone(), workload),
                    None => self.pods.remove(&key),
                };
                self.plan_workload(&key);
            }
            Step::Wait(seconds) => self.now += Duration::from_secs(seconds),
            Step::Restart(which, ports, from) => {
                self.restart();
                self.desire(which, ports);
                self.plan_all(from);
            }
            Step::Fail(which, ports, at) => {
                let name = self.desire(which, ports);
                let mut plan = self
                    .ledger
                    .plan_service(&name, self.services.get(&name), self.now);
                plan.ops.truncate(at.index(plan.ops.len() + 1));
                self.carry_out(&name, &plan);
                self.ledger = Ledger::readopt(&self.kernel.observe(), self.now, &self.ledger);
                self.plan_all(at.index(4));
            }
        }
        self.retry();
    }

    pub fn restart(&mut self) {
        self.ledger = Ledger::adopt(&self.kernel.observe(), self.capacity, self.now);
    }

    /// Plans every object and retires the rest; the writes.
    pub fn plan_all(&mut self, from: usize) -> usize {
        let names: Vec<_> = (0..4).map(|which| service_name((which + from) % 4)).collect();
        let mut ops = 0;
        for (which, name) in (0..).zip(&names) {
            ops += self.plan_service(name).ops.len();
            ops += self.plan_workload(&pod(which)).ops.len();
        }
        let plan = self.ledger.retire_unclaimed(self.now);
        self.carry_out(&service_name(0), &plan);
        ops + plan.ops.len()
    }

    /// Plans again what may fit now; the writes.
    pub fn retry(&mut self) -> usize {
        let mut ops = 0;
        for name in self.ledger.refused_services(self.now) {
            ops += self.plan_service(&name).ops.len();
        }
        for pod in self.ledger.refused_workloads(self.now) {
            ops += self.plan_workload(&pod).ops.len();
        }
        ops
    }

    /// Lets time pass and plans again until nothing more happens.
    pub fn settle(&mut self) {
        for _ in 0..20 {
            self.now += REST;
            if self.retry() == 0 {
                return;
            }
        }
        panic!("it never settles");
    }

    fn desire(&mut self, which: u8, ports: Option<ServicePorts>) -> ObjectName {
        let name = service_name(usize::from(which));
        match ports {
            Some(ports) => self.services.insert(name.clone(), ports),
            None => self.services.remove(&name),
        };
        name
    }

    fn plan_service(&mut self, name: &ObjectName) -> Plan {
        let plan = self.ledger.plan_service(name, self.services.get(name), self.now);
        let before = self.kernel.clone();
        self.carry_out(name, &plan);
        self.check_result(name, &plan, &before);
        // What the plan itself made room for, a second one may use.
        let mut ledger = self.ledger.clone();
        if !ledger.refused_services(self.now).contains(name) {
            let again = ledger.plan_service(name, self.services.get(name), self.now);
            let parts =
                |plan: &Plan| -> Vec<_> { plan.refusals.iter().map(|refusal| refusal.part).collect() };
            assert_eq!(
                (again.ops.len(), parts(&again)),
                (0, parts(&plan)),
                "planned again"
            );
        }
        plan
    }

    fn plan_workload(&mut self, key: &PodKey) -> Plan {
        let plan = self.ledger.plan_workload(key, self.pods.get(key), self.now);
        self.carry_out(&service_name(0), &plan);
        let again = self
            .ledger
            .clone()
            .plan_workload(key, self.pods.get(key), self.now);
        assert_eq!(again.ops, [], "planned again");
        plan
    }

    /// Carries out a plan write by write; after each, every reader that starts must be right.
    fn carry_out(&mut self, name: &ObjectName, plan: &Plan) {
        let owners = self.history.owners().clone();
        let allowed = allowed(&self.kernel, &owners, name, self.services.get(name));
        let before = self.kernel.clone();
        let mut after = before.clone();
        after.apply_all(&plan.ops);
        self.history.learn(&self.ledger, &after, &self.services);
        for op in &plan.ops {
            self.kernel.apply(op);
            self.kernel.assert_fits(&self.capacity);
            for (frontend, allowed) in &allowed {
                let reach = self.kernel.reach(frontend);
                let strangers = reach.iter().flatten().find(|at| !allowed.contains(at));
                assert_eq!(strangers, None, "{frontend:?} after {op:?}");
                let served = |kernel: &Kernel| kernel.reach(frontend).is_some_and(|reach| !reach.is_empty());
                if served(&before) && served(&after) {
                    assert!(
                        served(&self.kernel),
                        "{frontend:?} without endpoints after {op:?}"
                    );
                }
            }
            let known: BTreeSet<u32> = self.kernel.workloads.values().map(|value| value.id()).collect();
            let enrolled = self.kernel.pods.values().map(|pod| pod.workload.id());
            // An address that had several pods may be mistaken for another's after a restart, for a moment.
            assert!(
                self.pods_share_addresses || known.is_superset(&enrolled.collect()),
                "a pod without address after {op:?}"
            );
            self.history.record(self.now, &self.kernel);
        }
    }

    /// What is not refused is as desired, what is refused is as before.
    fn check_result(&self, name: &ObjectName, plan: &Plan, before: &Kernel) {
        use crate::model::ledger::Part;
        for (key, port) in self.services.get(name).into_iter().flatten() {
            let refused = plan
                .refusals
                .iter()
                .find(|refusal| refusal.part == Part::Port(*key));
            for frontend in &port.frontends {
                let reach = self.kernel.reach(frontend);
                let part = Part::Frontend(*key, *frontend);
                if plan.refusals.iter().any(|refusal| refusal.part == part) {
                    assert_eq!(reach, before.reach(frontend), "another's");
                } else if refused.is_none() {
                    assert_eq!(reach.as_ref(), Some(&reachable(port)), "as desired");
                }
            }
        }
        for (service, info) in self.kernel.observe().services {
            let owner = self
                .ledger
                .service(service)
                .filter(|(owner, _, _)| *owner == name);
            let Some((_, key, _)) = owner.filter(|_| plan.refusals.is_empty()) else {
                continue;
            };
            let needed = info.affinity_seconds > 0 || key.protocol == Protocol::Udp;
            let members = self
                .kernel
                .members
                .iter()
                .filter(|member| member.service == service);
            let members: Reach = members
                .map(|member| self.kernel.endpoint(member.backend))
                .collect();
            let expected = if needed {
                self.kernel.endpoints(service)
            } else {
                Reach::new()
            };
            assert_eq!(members, expected, "members of {service}");
        }
    }
}

pub fn service_name(which: usize) -> ObjectName {
    name(&format!("service-{which}"))
}

pub type Reach = BTreeSet<(mesh_common::addr::Addr, Port)>;

pub fn reachable(port: &ServicePort) -> Reach {
    let endpoints = port.endpoints.iter();
    endpoints.map(|endpoint| (endpoint.addr, endpoint.port)).collect()
}

/// Where each frontend may lead while a Service is planned: where it led before, and to the old and new
/// endpoints of the Service's port that has had it or is to have it.
fn allowed(
    kernel: &Kernel,
    owners: &BTreeMap<u32, (ObjectName, PortKey)>,
    name: &ObjectName,
    ports: Option<&ServicePorts>,
) -> BTreeMap<Frontend, Reach> {
    let mut allowed: BTreeMap<Frontend, Reach> = BTreeMap::new();
    for (frontend, value) in &kernel.frontends {
        let reach = allowed.entry(*frontend).or_default();
        reach.extend(kernel.endpoints(value.id()));
        if let Some((owner, key)) = owners.get(&value.id())
            && owner == name
        {
            reach.extend(
                ports
                    .and_then(|ports| ports.get(key))
                    .map(reachable)
                    .unwrap_or_default(),
            );
        }
    }
    for (key, port) in ports.into_iter().flatten() {
        let ids = kernel.frontends.values().map(|value| value.id());
        let own = ids.filter(|id| owners.get(id) == Some(&(name.clone(), *key)));
        let own: Reach = own
            .flat_map(|id| kernel.endpoints(id))
            .chain(reachable(port))
            .collect();
        for frontend in &port.frontends {
            allowed.entry(*frontend).or_default().extend(own.clone());
        }
    }
    allowed
}

//! How long planning takes. `cargo test --release -p mesh-agent ledger::tests::bench -- --ignored --nocapture`

use std::net::Ipv4Addr;
use std::time::Instant;

use mesh_common::addr::{Addr, Port, Protocol};
use mesh_common::service::{Algorithm, Frontend};

use super::fixture::*;
use crate::model::desired::{Endpoint, PodKey, ServicePort, ServicePorts};
use crate::model::ledger::{Capacity, Ledger, diff};

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

fn big_service(number: u32, change: u32) -> ServicePorts {
    let endpoint = |at: u32| {
        let host = number * ENDPOINTS + at + change * SERVICES * ENDPOINTS;
        Endpoint {
            addr: Addr::from(Ipv4Addr::from_bits(0x0a00_0000 + host)),
            port: Port::new(8080),
            pod: Some(PodKey {
                object: name(&format!("web-{number}-{host}")),
                uid: format!("8f0c5c1e-0000-4000-8000-{host:012}"),
            }),
        }
    };
    let clients = Ipv4Addr::from_bits(0x6440_0000 + number).into();
    let port = ServicePort {
        port_name: "http".to_owned(),
        frontends: [Frontend::new(clients, Port::new(80), Protocol::Tcp)].into(),
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
        ..ServicePort::default()
    };
    ServicePorts::from([(TCP, port)])
}

#[test]
#[ignore = "takes time and says how much"]
fn ten_thousand_services() {
    let node = Node::new(Capacity::default());
    let (mut ledger, mut kernel, now) = (node.ledger, node.kernel, node.now);
    let all: Vec<_> = (0..SERVICES)
        .map(|number| (name(&format!("web-{number}")), big_service(number, 0)))
        .collect();

    let start = Instant::now();
    let plans: Vec<_> = all
        .iter()
        .map(|(name, ports)| ledger.plan_service(name, Some(ports), now))
        .collect();
    println!("initial plan of all services: {:?}", start.elapsed());
    assert!(plans.iter().all(|plan| plan.refusals.is_empty()));
    for plan in &plans {
        kernel.apply_all(&plan.ops);
    }

    let start = Instant::now();
    let ops: usize = all
        .iter()
        .map(|(name, ports)| ledger.plan_service(name, Some(ports), now).ops.len())
        .sum();
    println!("the same again, {ops} writes: {:?}", start.elapsed());

    let changed = big_service(77, 1);
    let start = Instant::now();
    let plan = ledger.plan_service(&all[77].0, Some(&changed), now);
    println!(
        "one service, all endpoints changed, {} writes: {:?}",
        plan.ops.len(),
        start.elapsed()
    );
    kernel.apply_all(&plan.ops);

    let mut consistent = changed;
    for port in consistent.values_mut() {
        port.algorithm = Algorithm::Maglev;
    }
    let start = Instant::now();
    let plan = ledger.plan_service(&all[77].0, Some(&consistent), now);
    println!(
        "one service, maglev, {} writes: {:?}",
        plan.ops.len(),
        start.elapsed()
    );
    kernel.apply_all(&plan.ops);

    let start = Instant::now();
    let expected = ledger.expected();
    println!("expected(): {:?}", start.elapsed());
    let observed = kernel.observe();
    let start = Instant::now();
    assert_eq!(diff(&expected, &observed), []);
    println!("diff(): {:?}", start.elapsed());

    let start = Instant::now();
    let mut ledger = Ledger::adopt(&observed, Capacity::default(), now);
    println!("adopt(): {:?}", start.elapsed());
    let start = Instant::now();
    let ops: usize = all
        .iter()
        .filter(|(at, _)| *at != all[77].0)
        .map(|(name, ports)| ledger.plan_service(name, Some(ports), now).ops.len())
        .sum();
    println!("plan of all after adoption, {ops} writes: {:?}", start.elapsed());
    assert_eq!(ops, 0);
    let start = Instant::now();
    let plan = ledger.retire_unclaimed(now);
    println!("retire, {} writes: {:?}", plan.ops.len(), start.elapsed());

    let start = Instant::now();
    let again = Ledger::readopt(&observed, now, &ledger);
    println!("readopt(): {:?}", start.elapsed());
    assert_eq!(again.expected(), expected);
}

//! What a change costs does not depend on how much there is besides.

use std::net::Ipv4Addr;

use mesh_common::addr::{Addr, Port, Protocol};
use mesh_common::service::{Algorithm, Frontend};

use super::fixture::*;
use crate::model::desired::{Endpoint, PodKey, ServicePort, ServicePorts};
use crate::model::ledger::{Capacity, Ledger};

const ENDPOINTS: u32 = 10;

fn big_name(number: u32) -> String {
    format!("web-{number}")
}

/// A service of ten pods; each version of it has other pods.
fn big_service(number: u32, version: u32) -> ServicePorts {
    let endpoint = |at: u32| {
        let host = (version * 1_000 + number) * ENDPOINTS + at;
        Endpoint {
            addr: Addr::from(Ipv4Addr::from_bits(0x0a00_0000 + host)),
            port: Port::new(8080),
            pod: Some(PodKey {
                object: name(&format!("web-{number}-{host}")),
                uid: format!("8f0c5c1e-0000-4000-8000-{host:012}").into(),
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

fn filled(services: u32) -> Node {
    let mut node = Node::new(Capacity::default());
    for number in 0..services {
        let plan = node.service(&big_name(number), Some(&big_service(number, 0)));
        assert_eq!(plan.refusals, []);
    }
    node
}

/// How many writes a change of one service takes: all its endpoints, then its algorithm.
fn writes(node: &mut Node) -> [usize; 2] {
    let moved = big_service(3, 1);
    let mut maglev = moved.clone();
    for port in maglev.values_mut() {
        port.algorithm = Algorithm::Maglev;
    }
    [moved, maglev].map(|ports| node.service(&big_name(3), Some(&ports)).ops.len())
}

#[test]
fn a_change_writes_what_it_touches() {
    // The backends, their slots and the switch to them; then slots and the switch alone.
    let expected = [ENDPOINTS as usize + 2, 2];
    for services in [10, 500] {
        let mut node = filled(services);
        assert_eq!(writes(&mut node), expected, "of {services}");
        node.assert_as_expected();
    }
}

#[test]
fn many_services_are_taken_over_without_a_write() {
    let mut node = filled(500);
    let (observed, now) = (node.kernel.observe(), node.now);
    let mut adopted = Ledger::adopt(&observed, Capacity::default(), now);
    for ledger in [&mut node.ledger, &mut adopted] {
        for number in 0..500 {
            let plan = ledger.plan_service(&name(&big_name(number)), Some(&big_service(number, 0)), now);
            assert_eq!((plan.ops, plan.refusals), (vec![], vec![]));
        }
        assert_eq!(ledger.retire_unclaimed(now).ops, []);
    }
    let again = Ledger::readopt(&observed, now, &adopted);
    assert_eq!(again.expected(), adopted.expected());
}

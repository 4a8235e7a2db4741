//! Tables that are full.

use mesh_common::decide::policy::Verdict as Said;
use mesh_common::policy::Direction;
use mesh_common::rules::NOTHING;
use serde_json::json;

use super::changes::{facts, from_app, ingress, set, small};
use super::world::{PLENTY, World, key};
use super::*;

/// Ports that take so many entries.
fn large(ports: u16) -> serde_json::Value {
    let ports = (0..ports).map(|port| json!({ "port": 1000 + 2 * port }));
    json!({ "podSelector": {}, "ingress": [{ "ports": ports.collect::<Vec<_>>() }] })
}

fn number(world: &World, workload: u32) -> u32 {
    world.kernel.pods[&workload].sets.of(Direction::Ingress)
}

/// `y/d` beside, with workload id 2 and rules of its own.
fn with_neighbour(limits: Limits) -> World {
    let mut world = small(limits);
    world.pod(&key("y/d"), Some(facts("d", "10.0.0.4")));
    world.local(&key("y/d"), Some(2));
    set(&mut world, "y/p", 1, &large(2));
    world.plan();
    world
}

#[test]
fn a_namespace_without_room_is_closed_alone_says_so_and_heals() {
    let limits = Limits { rules: 40, ..PLENTY };
    let mut world = with_neighbour(limits);
    set(&mut world, "x/p", 2, &large(60));
    world.plan();
    assert_eq!(
        (number(&world, 1), ingress(&world, "10.0.0.2")),
        (NOTHING, Some(Said::Denied))
    );
    assert_ne!(number(&world, 2), NOTHING);
    assert_eq!(world.agent.generation(&name("x/p")), None);
    let problems: Vec<String> = world.agent.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "namespace x: 1 of its pods refuse all ingress: its rules need 60 more entries of POLICY, 33 are free; start \
             the agent with --map-size POLICY=ENTRIES, more than now"
        ]
    );

    set(&mut world, "x/p", 3, &from_app("b"));
    world.plan();
    assert_ne!(number(&world, 1), NOTHING);
    assert_eq!(
        (world.agent.problems(), world.agent.generation(&name("x/p"))),
        (vec![], Some(3))
    );
}

#[test]
fn what_goes_makes_room_for_what_is_closed() {
    let mut world = with_neighbour(Limits { rules: 40, ..PLENTY });
    set(&mut world, "y/p", 2, &large(30));
    set(&mut world, "x/p", 2, &large(20));
    world.come_to_rest();
    assert_eq!(world.agent.problems().len(), 1);
    world.policy(&name("y/p"), None);
    world.come_to_rest();
    assert_eq!(world.agent.problems(), []);
    assert!(
        [1, 2]
            .map(|workload| number(&world, workload))
            .iter()
            .all(|number| *number != NOTHING)
    );
}

#[test]
fn a_namespace_has_its_share() {
    let limits = Limits {
        rules_per_namespace: 10,
        ..PLENTY
    };
    let mut world = with_neighbour(limits);
    set(&mut world, "x/p", 2, &large(11));
    world.plan();
    assert_eq!(number(&world, 1), NOTHING);
    let problem = world.agent.problems()[0].to_string();
    assert!(
        problem.contains("need 11 more entries of POLICY, 10 are left of the namespace's share"),
        "{problem}"
    );
    // What rests is not held against it.
    set(&mut world, "x/p", 3, &large(10));
    world.plan();
    set(&mut world, "x/p", 4, &large(9));
    world.plan();
    assert_eq!(world.agent.problems(), []);
}

#[test]
fn blocks_without_room_close_those_that_have_them() {
    let mut world = small(Limits { cidrs: 1, ..PLENTY });
    let block = json!({ "cidr": "10.0.0.0/8", "except": ["10.0.0.0/24"] });
    set(
        &mut world,
        "x/p",
        2,
        &json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": block }] }] }),
    );
    world.plan();
    assert_eq!(number(&world, 1), NOTHING);
    let problem = world.agent.problems()[0].to_string();
    assert!(
        problem.contains("find no room among the prefixes in CIDRS"),
        "{problem}"
    );
    world.policy(&name("x/p"), None);
    world.come_to_rest();
    assert_eq!((world.agent.problems(), world.kernel.cidrs.len()), (vec![], 0));
}

#[test]
fn addresses_without_room_are_refused_and_disputed_ones_go_first() {
    let mut world = small(Limits { classes: 1, ..PLENTY });
    assert_eq!(world.agent.problems(), []);
    world.pod(&key("x/e"), Some(facts("b", "10.0.0.5")));
    world.plan();
    assert_eq!(ingress(&world, "10.0.0.5"), Some(Said::Denied));
    let problem = world.agent.problems()[0].to_string();
    assert!(
        problem.starts_with("1 addresses of pods find no room in CLASSES (1 entries)"),
        "{problem}"
    );

    let block =
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.3/32" } }] }] });
    set(&mut world, "x/q", 1, &block);
    world.pod(&key("y/twin"), Some(facts("c", "10.0.0.3")));
    world.plan();
    assert_eq!(ingress(&world, "10.0.0.3"), Some(Said::Denied));
    assert!(world.kernel.holds(&world.limits));
}

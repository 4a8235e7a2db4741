//! What holds in every world.

use proptest::prelude::*;

use super::fixture::*;
use super::world::{World, capacities, ports, reachable, service_name, steps};
use crate::model::desired::ServicePorts;
use crate::model::ledger::diff;

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_reader_is_ever_led_astray(steps in steps(2), capacity in capacities(), seed in any::<u64>()) {
        let mut world = World::new(capacity, 2);
        for step in steps {
            world.step(step);
            prop_assert_eq!(diff(&world.ledger.expected(), &world.kernel.observe()), []);
        }
        world.history.preempt(seed);

        world.settle();
        for frontend in world.kernel.frontends.keys() {
            let wanted = world.services.values().flat_map(ServicePorts::values);
            let wanted = wanted.filter(|port| port.frontends.contains(frontend)).count();
            prop_assert!(wanted > 0, "nobody wants {:?}", frontend);
        }
    }

    #[test]
    fn a_restart_changes_nothing(steps in steps(1), capacity in capacities(), from in 0..4_usize) {
        let mut world = World::new(capacity, 1);
        for step in steps {
            world.step(step);
        }
        world.settle();
        let before = world.ledger.expected();
        world.restart();
        prop_assert_eq!(&world.ledger.expected(), &before);
        prop_assert_eq!(world.plan_all(from), 0);
        prop_assert_eq!(&world.ledger.expected(), &before);
        let refused: Vec<String> = world.ledger.refusals().map(ToString::to_string).collect();
        world.settle();
        prop_assert_eq!(diff(&world.ledger.expected(), &before), [], "{:#?}", refused);
    }

    #[test]
    fn with_room_all_is_as_desired(steps in steps(2)) {
        let mut world = World::new(SMALL, 2);
        for step in steps {
            world.step(step);
        }
        world.settle();
        for port in world.services.values().flat_map(ServicePorts::values) {
            for frontend in &port.frontends {
                let claims = world.services.values().flat_map(ServicePorts::values);
                let claims = claims.filter(|port| port.frontends.contains(frontend)).count();
                let reach = world.kernel.reach(frontend);
                prop_assert!(reach.is_some());
                prop_assert!(claims > 1 || reach == Some(reachable(port)));
            }
        }
    }

    #[test]
    fn the_order_of_planning_does_not_matter(
        all in (ports(0, 2), ports(1, 2), ports(2, 2), ports(3, 2)),
        order in Just([0_usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let services = [all.0, all.1, all.2, all.3];
        let [one, other] = [[0, 1, 2, 3], order].map(|order| {
            let mut node = Node::new(SMALL);
            for which in order {
                let name = service_name(which);
                let plan = node.ledger.plan_service(&name, Some(&services[which]), node.now);
                node.kernel.apply_all(&plan.ops);
            }
            node
        });
        for port in services.iter().flat_map(ServicePorts::values) {
            for frontend in port.frontends.iter().filter(|frontend| !is_shared(frontend)) {
                prop_assert_eq!(one.kernel.reach(frontend), other.kernel.reach(frontend));
            }
        }
    }
}

fn is_shared(at: &mesh_common::service::Frontend) -> bool {
    [90, 91].map(|number| frontend(number).addr).contains(&at.addr)
}

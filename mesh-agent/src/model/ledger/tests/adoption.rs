//! Tables of a previous agent.

use std::time::Duration;

use mesh_common::service::{Algorithm, Backend, Member, Region, ServiceInfo, Slot};
use mesh_common::tag::Tagged;

use super::fixture::*;
use crate::model::desired::ServicePorts;
use crate::model::ledger::{Ledger, REST};

fn filled() -> Node {
    let mut node = Node::new(SMALL);
    for number in 1..=5 {
        let netns = (number < 3).then_some(100 + u64::from(number));
        node.workload(number, Some(&workload(&[number], netns)));
    }
    for (text, ports) in objects() {
        node.service(text, Some(&ports));
    }
    node
}

fn objects() -> [(&'static str, ServicePorts); 4] {
    [
        ("random", service(&[1, 2], &[1, 2, 3])),
        ("affine", affine(&[3], &[1])),
        ("maglev", maglev(&[4], &[2, 4, 5])),
        ("empty", service(&[5], &[])),
    ]
}

fn plan_all(node: &mut Node) -> usize {
    let mut ops = 0;
    for (text, ports) in objects().iter().rev() {
        ops += node.service(text, Some(ports)).ops.len();
    }
    for number in 1..=5 {
        let netns = (number < 3).then_some(100 + u64::from(number));
        ops += node.workload(number, Some(&workload(&[number], netns))).ops.len();
    }
    ops + node.retire().ops.len()
}

#[test]
fn a_restart_changes_nothing() {
    let mut node = filled();
    let before = node.ledger.expected();
    node.restart(SMALL);
    assert_eq!(node.ledger.expected(), before);
    node.assert_as_expected();
    assert_eq!(plan_all(&mut node), 0);
    assert_eq!(node.ledger.expected(), before);
}

#[test]
fn names_are_learned_whichever_comes_first() {
    let mut node = filled();
    let id = node.kernel.workloads[&pod_addr(1)].id();
    for service_first in [false, true] {
        node.restart(SMALL);
        assert_eq!(node.ledger.workload(id), None);
        if service_first {
            assert_eq!(node.service("affine", Some(&affine(&[3], &[1]))).ops, []);
        } else {
            assert_eq!(node.workload(1, Some(&workload(&[1], Some(101)))).ops, []);
        }
        assert_eq!(node.ledger.workload(id), Some(&pod(1)));
    }
}

#[test]
fn what_nobody_claims_is_removed_once_all_is_known() {
    let mut node = filled();
    node.restart(SMALL);
    node.service("random", Some(&service(&[1, 2], &[1, 2, 3])));
    node.workload(1, Some(&workload(&[1], Some(101))));
    assert_eq!(node.reach(3), Some(addresses(&[1])), "until then it stays");
    node.retire();
    assert_eq!(node.kernel.frontends.len(), 2);
    assert_eq!((node.kernel.members.len(), node.kernel.pods.len()), (0, 1));
    assert_eq!(node.kernel.workloads.len(), 1);
    node.assert_as_expected();
    assert!(node.retire().is_empty());
}

#[test]
fn new_things_wait_for_the_rest_of_what_a_previous_agent_may_have_freed() {
    let mut node = filled();
    node.restart(SMALL);
    let plan = node.service("new", Some(&service(&[9], &[1])));
    assert!(plan.refusals[0].to_string().contains("must rest"), "{plan:?}");
    let plan = node.workload(9, Some(&workload(&[9], Some(109))));
    assert_eq!((plan.ops.len(), plan.refusals.len()), (2, 0), "pods do not wait");
    node.wait(REST);
    assert_eq!(node.ledger.refused_services(node.now), [name("new")]);
    node.service("new", Some(&service(&[9], &[1])));
    assert_eq!(node.reach(9), Some(addresses(&[1])));
}

#[test]
fn a_service_with_fewer_frontends_than_before_does_not_share_its_old_id() {
    // Who knows whether frontend 2 is its own: another service may come for it.
    let mut node = filled();
    node.restart(SMALL);
    node.wait(REST);
    let plan = node.service("random", Some(&service(&[1], &[4])));
    assert!(plan.refusals[0].to_string().contains("another service's before"));
    assert_eq!(plan.ops, []);
    node.retire();
    assert_eq!(node.ledger.refused_services(node.now), [name("random")]);
    assert_eq!(node.reach(2), None);
    node.service("random", Some(&service(&[1], &[4])));
    assert_eq!(node.reach(1), Some(addresses(&[4])));
    node.assert_as_expected();
}

#[test]
fn a_contested_frontend_stays_with_its_holder_over_a_restart() {
    let mut node = Node::new(SMALL);
    let (a, b) = (service(&[1, 9], &[1]), service(&[2, 9], &[2]));
    node.service("a", Some(&a));
    node.service("b", Some(&b));
    node.restart(SMALL);
    assert_eq!(node.service("b", Some(&b)).ops, []);
    assert_eq!(node.service("a", Some(&a)).ops, []);
    assert_eq!(node.retire().ops, []);
    assert!(node.ledger.refused_services(node.now).is_empty());
}

/// Spoils the tables, restarts, plans all, and all must be well again.
fn recovers_from(spoil: impl FnOnce(&mut Node)) {
    let mut node = filled();
    let before = node.ledger.expected();
    spoil(&mut node);
    node.restart(SMALL);
    node.wait(REST);
    assert_ne!(plan_all(&mut node), 0);
    // What led to a service of somebody else is handed over once all are known.
    plan_all(&mut node);
    node.assert_as_expected();
    assert_eq!(node.ledger.refusals().count(), 0);
    assert_eq!(
        [1, 2].map(|f| node.reach(f)),
        [(); 2].map(|()| Some(addresses(&[1, 2, 3])))
    );
    assert_eq!(node.reach(3), Some(addresses(&[1])));
    assert_eq!(node.reach(4), Some(addresses(&[2, 4, 5])));
    assert_eq!(node.reach(5), Some(addresses(&[])));
    let now = node.ledger.expected();
    assert_eq!(now.frontends.len(), before.frontends.len());
    assert_eq!(now.workloads, before.workloads);
    assert_eq!(plan_all(&mut node), 0);
}

fn id(node: &Node, number: u8) -> u32 {
    node.kernel.frontends[&frontend(number)].id()
}

#[test]
fn a_region_out_of_range_is_replaced() {
    recovers_from(|node| {
        let id = id(node, 1);
        node.kernel.infos.get_mut(&id).unwrap().region = Region::new(5_000, 3, Algorithm::Random);
    });
}

#[test]
fn a_region_that_overlaps_another_is_replaced() {
    recovers_from(|node| {
        let (one, other) = (id(node, 1), id(node, 3));
        let region = node.kernel.infos[&one].region;
        node.kernel.infos.get_mut(&other).unwrap().region = region;
    });
}

#[test]
fn a_region_inside_the_padding_of_another_is_replaced() {
    recovers_from(|node| {
        let other = id(node, 3);
        let region = node.kernel.infos[&id(node, 1)].region;
        let last = region.offset() + 3;
        let slot = node.kernel.slots[&node.kernel.infos[&other].region.offset()];
        node.kernel.slots.insert(last, slot);
        node.kernel.infos.get_mut(&other).unwrap().region = Region::new(last, 1, Algorithm::Random);
    });
}

#[test]
fn slots_of_another_service_are_replaced() {
    recovers_from(|node| {
        let offset = node.kernel.infos[&id(node, 4)].region.offset();
        node.kernel.slots.get_mut(&(offset + 17)).unwrap().service = 1;
    });
}

#[test]
fn slots_without_a_backend_are_replaced() {
    recovers_from(|node| {
        let offset = node.kernel.infos[&id(node, 1)].region.offset();
        let slot = node.kernel.slots.get_mut(&offset).unwrap();
        *slot = Slot {
            backend: 250,
            ..*slot
        };
    });
}

#[test]
fn a_maglev_table_of_another_making_is_replaced() {
    recovers_from(|node| {
        let offset = node.kernel.infos[&id(node, 4)].region.offset();
        let (mut one, mut two) = (offset, offset + 1);
        while node.kernel.slots[&one] == node.kernel.slots[&two] {
            (one, two) = (two, two + 1);
        }
        let slot = node.kernel.slots[&one];
        let other = node.kernel.slots.insert(two, slot).unwrap();
        node.kernel.slots.insert(one, other);
    });
}

#[test]
fn frontends_of_no_service_are_replaced() {
    recovers_from(|node| {
        let value = Tagged::new(60, 0, frontend(1).hash());
        node.kernel.frontends.insert(frontend(1), value);
    });
    recovers_from(|node| {
        let value = Tagged::new(1, 0, frontend(3).hash());
        node.kernel.frontends.insert(frontend(3), value);
    });
}

#[test]
fn strange_frontends_and_members_are_removed() {
    recovers_from(|node| {
        let value = Tagged::new(60, 0, frontend(77).hash());
        node.kernel.frontends.insert(frontend(77), value);
        for service in [1, 50, 5_000, 0] {
            let backend = 3;
            node.kernel.members.insert(Member { service, backend });
        }
    });
}

#[test]
fn duplicate_backends_become_one() {
    recovers_from(|node| {
        let offset = node.kernel.infos[&id(node, 1)].region.offset();
        let record: Backend = node.kernel.backends[&node.kernel.slots[&offset].backend];
        node.kernel.backends.insert(200, record);
        node.kernel.slots.get_mut(&offset).unwrap().backend = 200;
    });
}

#[test]
fn foreign_settings_are_replaced() {
    recovers_from(|node| {
        let id = id(node, 1);
        let info = &node.kernel.infos[&id];
        let region = Region(info.region.0 | 0xfe << 56);
        let info = ServiceInfo { region, ..*info };
        node.kernel.infos.insert(id, info);
    });
}

#[test]
fn values_of_another_key_are_replaced() {
    recovers_from(|node| {
        let stray = node.kernel.workloads[&pod_addr(1)];
        node.kernel.workloads.insert(pod_addr(2), stray);
        let stray = node.kernel.pods[&101];
        node.kernel.pods.insert(102, stray);
        node.kernel.pods.insert(103, stray);
    });
}

#[test]
fn after_a_failed_write_rest_goes_on_and_room_need_not_rest() {
    let mut node = filled();
    node.service("affine", None);
    let freed = node.now;
    node.wait(REST / 2);
    // Of this plan only the first write is carried out.
    let plan = node
        .ledger
        .plan_service(&name("new"), Some(&service(&[9], &[9])), node.now);
    node.kernel.apply(&plan.ops[0]);
    let old = node.ledger.clone();
    node.ledger = Ledger::readopt(&node.kernel.observe(), node.now, &old);
    node.assert_as_expected();
    let lost = 5;
    let plan = node.service("new", Some(&service(&[9], &[9])));
    assert_eq!(plan.refusals, [], "there is unused room");
    assert_ne!(id(&node, 9), 2, "the id of the removed service rests");
    assert_ne!(id(&node, 9), lost, "the id of the failed plan rests too");
    assert!(node.now < freed + REST);
    node.wait(Duration::from_secs(1));
}

#[test]
fn a_pod_is_recognised_even_if_its_service_was_refused_at_first() {
    let mut capacity = SMALL;
    capacity.backends = 4;
    let mut node = Node::new(capacity);
    node.service("web", Some(&service(&[1], &[1, 2])));
    node.restart(capacity);
    // Endpoint 0 comes first and finds no id: the others are not looked at.
    assert_eq!(
        node.service("web", Some(&service(&[1], &[0, 1, 2])))
            .refusals
            .len(),
        1
    );
    node.retire();
    node.wait(REST);
    let plan = node.service("web", Some(&service(&[1], &[0, 1, 2])));
    assert_eq!(plan.refusals, []);
    assert_eq!(node.reach(1), Some(addresses(&[0, 1, 2])));
}

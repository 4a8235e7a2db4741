//! Services, one case each.

use super::fixture::*;
use crate::model::desired::ServicePorts;
use crate::model::ledger::REST;
use crate::model::op::Op;

fn kinds(ops: &[Op]) -> Vec<&'static str> {
    let kind = |op: &Op| match op {
        Op::SetBackend { .. } => "backend",
        Op::AddMember(_) => "member",
        Op::SetSlots { .. } => "slots",
        Op::SetServiceInfo { .. } => "info",
        Op::SetFrontend { .. } => "frontend",
        Op::RemoveFrontend(_) => "-frontend",
        Op::RemoveMember(_) => "-member",
        _ => "other",
    };
    let mut kinds: Vec<_> = ops.iter().map(kind).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_new_service_is_written_from_the_backends_up() {
    let mut node = Node::new(SMALL);
    let plan = node.service("web", Some(&affine(&[1], &[1, 2])));
    assert_eq!(
        kinds(&plan.ops),
        ["backend", "member", "slots", "info", "frontend"]
    );
    assert_eq!(node.reach(1), Some(addresses(&[1, 2])));
    node.assert_as_expected();
    assert_eq!(node.service("web", Some(&affine(&[1], &[1, 2]))).ops, []);
}

#[test]
fn an_endpoint_change_switches_to_a_new_region_by_one_write() {
    let mut node = Node::new(SMALL);
    node.service("web", Some(&affine(&[1], &[1, 2])));
    let old = node.kernel.infos[&1].region;
    let plan = node.service("web", Some(&affine(&[1], &[2, 3])));
    assert_eq!(
        kinds(&plan.ops),
        ["backend", "member", "slots", "info", "-member"]
    );
    assert_ne!(node.kernel.infos[&1].region.offset(), old.offset());
    assert_eq!(node.reach(1), Some(addresses(&[2, 3])));
    node.assert_as_expected();
}

#[test]
fn settings_change_without_touching_the_slots() {
    let mut node = Node::new(SMALL);
    node.service("web", Some(&service(&[1], &[1])));
    let plan = node.service("web", Some(&affine(&[1], &[1])));
    assert_eq!(kinds(&plan.ops), ["member", "info"]);
    let plan = node.service("web", Some(&service(&[1], &[1])));
    assert_eq!(kinds(&plan.ops), ["info", "-member"]);
    let plan = node.service("web", Some(&maglev(&[1], &[1])));
    assert_eq!(kinds(&plan.ops), ["slots", "info"]);
    node.assert_as_expected();
}

#[test]
fn no_endpoints_need_no_slots() {
    let mut node = Node::new(SMALL);
    let plan = node.service("web", Some(&maglev(&[1], &[])));
    assert_eq!(kinds(&plan.ops), ["info", "frontend"]);
    node.service("web", Some(&maglev(&[1], &[1])));
    let plan = node.service("web", Some(&maglev(&[1], &[])));
    assert_eq!(kinds(&plan.ops), ["info"]);
    assert_eq!(node.reach(1), Some(addresses(&[])));
}

#[test]
fn a_removed_service_leaves_its_info_to_late_readers() {
    let mut node = Node::new(SMALL);
    node.service("web", Some(&affine(&[1, 2], &[1])));
    let plan = node.service("web", None);
    assert_eq!(kinds(&plan.ops), ["-frontend", "-member"]);
    assert_eq!(node.kernel.endpoints(1), addresses(&[1]));
    assert_eq!(node.service("web", None).ops, []);
    node.assert_as_expected();
}

#[test]
fn ports_have_ids_of_their_own_and_frontends_move_between_them() {
    let mut node = Node::new(SMALL);
    let both = |tcp: &[u8], udp: &[u8]| ServicePorts::from([(TCP, port(tcp, &[1])), (UDP, port(udp, &[2]))]);
    node.service("web", Some(&both(&[1, 2], &[3])));
    assert_eq!(
        [1, 2, 3].map(|f| node.reach(f)),
        [[1], [1], [2]].map(|e| Some(addresses(&e)))
    );
    let plan = node.service("web", Some(&both(&[1], &[2, 3])));
    assert_eq!(kinds(&plan.ops), ["frontend"]);
    assert_eq!(node.reach(2), Some(addresses(&[2])));
    assert_eq!(
        node.ledger.service(2),
        Some((&name("web"), UDP, "http")),
        "the second port"
    );
    node.assert_as_expected();
}

#[test]
fn a_contested_frontend_stays_with_its_holder_and_is_handed_over_in_place() {
    let mut node = Node::new(SMALL);
    node.service("old", Some(&service(&[1, 9], &[1])));
    let plan = node.service("new", Some(&service(&[2, 9], &[2])));
    assert_eq!(
        plan.refusals[0].to_string(),
        "Service shop/new port 80/TCP frontend 10.96.0.9:80/TCP: 10.96.0.9:80/TCP is held by Service shop/old \
         port 80/TCP; remove it from one of the two"
    );
    assert_eq!(node.reach(9), Some(addresses(&[1])));
    assert!(node.ledger.refused_services(node.now).is_empty());

    let plan = node.service("old", None);
    assert_eq!(
        plan.ops,
        [Op::RemoveFrontend(frontend(1))],
        "9 waits for its next owner"
    );
    assert_eq!(node.ledger.refused_services(node.now), [name("new")]);
    node.assert_as_expected();
    let plan = node.service("new", Some(&service(&[2, 9], &[2])));
    assert_eq!(kinds(&plan.ops), ["frontend"]);
    assert_eq!(node.reach(9), Some(addresses(&[2])));
    assert!(node.ledger.refused_services(node.now).is_empty());
    node.assert_as_expected();
}

#[test]
fn a_frontend_nobody_waits_for_any_more_is_removed() {
    let mut node = Node::new(SMALL);
    node.service("old", Some(&affine(&[9], &[1])));
    node.service("new", Some(&service(&[9], &[2])));
    assert_eq!(node.service("old", None).ops, []);
    let plan = node.service("new", None);
    assert_eq!(kinds(&plan.ops), ["-frontend", "-member"]);
    node.assert_as_expected();
}

#[test]
fn one_backend_id_for_all_services_and_a_new_one_for_another_pod() {
    let mut node = Node::new(SMALL);
    node.service("a", Some(&service(&[1], &[1])));
    let plan = node.service("b", Some(&service(&[2], &[1])));
    assert_eq!(kinds(&plan.ops), ["slots", "info", "frontend"]);
    let mut other = service(&[2], &[1]);
    let mut endpoint = endpoint(1);
    endpoint.pod = Some(pod(7));
    other.get_mut(&TCP).unwrap().endpoints = [endpoint.clone()].into();
    let plan = node.service("b", Some(&other));
    assert_eq!(kinds(&plan.ops), ["backend", "slots", "info"]);
    assert_eq!(node.ledger.backend(2), Some(endpoint));
    node.assert_as_expected();
}

#[test]
fn ids_and_regions_are_used_again_after_the_rest_and_not_before() {
    let mut capacity = SMALL;
    (capacity.service_info, capacity.backends, capacity.lb_table) = (2, 2, 1);
    let mut node = Node::new(capacity);
    node.service("a", Some(&service(&[1], &[1])));
    node.service("a", None);
    node.wait(REST / 2);
    let plan = node.service("b", Some(&service(&[2], &[2])));
    assert_eq!(plan.ops, []);
    assert!(plan.refusals[0].to_string().contains("must rest"));
    assert!(node.ledger.refused_services(node.now).is_empty());
    node.wait(REST / 2);
    assert_eq!(node.ledger.refused_services(node.now), [name("b")]);
    let plan = node.service("b", Some(&service(&[2], &[2])));
    assert_eq!((plan.refusals.len(), node.reach(2)), (0, Some(addresses(&[2]))));
}

//! Tables without room.

use mesh_common::workload::flag;

use super::fixture::*;
use crate::model::desired::Workload;
use crate::model::ledger::{Capacity, REST};
use crate::model::op::Op;

#[test]
fn an_update_that_does_not_fit_keeps_what_was_and_is_planned_again() {
    let mut capacity = SMALL;
    capacity.lb_table = 4;
    let mut node = Node::new(capacity);
    node.service("a", Some(&service(&[1], &[1, 2])));
    node.service("b", Some(&service(&[2], &[3, 4])));
    let plan = node.service("a", Some(&service(&[1], &[1, 5, 6])));
    assert_eq!(plan.ops, []);
    assert_eq!(
        plan.refusals[0].to_string(),
        "Service shop/a port 80/TCP: no room for 3 slots in LB_TABLE (4 slots, 0 free); start \
             the agent with --map-size LB_TABLE=ENTRIES, more than now; \
         until then it keeps what it had"
    );
    assert_eq!(node.reach(1), Some(addresses(&[1, 2])));
    assert_eq!(node.reach(2), Some(addresses(&[3, 4])));
    node.assert_as_expected();

    node.service("b", None);
    node.service("a", Some(&service(&[1], &[])));
    let plan = node.service("a", Some(&service(&[1], &[1, 5, 6])));
    assert!(plan.refusals[0].to_string().contains("must rest"));
    assert!(node.ledger.refused_services(node.now).is_empty());
    node.wait(REST);
    assert_eq!(node.ledger.refused_services(node.now), [name("a")]);
    node.service("a", Some(&service(&[1], &[1, 5, 6])));
    assert_eq!(node.reach(1), Some(addresses(&[1, 5, 6])));
    assert_eq!(node.ledger.refusals().count(), 0);
}

#[test]
fn each_table_refuses_only_what_does_not_fit() {
    type Shrink = fn(&mut Capacity);
    let cases: [(Shrink, &str); 5] = [
        (
            |c| c.services = 1,
            "frontend 10.96.0.2:80/TCP: no room for 1 frontend in SERVICES (1 frontend, 0 free); start \
             the agent with --map-size SERVICES=ENTRIES, more than now",
        ),
        (
            |c| c.service_info = 2,
            "no room for 1 service id in SERVICE_INFO (2 service ids, 0 free); start \
             the agent with --map-size SERVICE_INFO=ENTRIES, more than now",
        ),
        (
            |c| c.backends = 4,
            "no room for 2 backends in BACKENDS (4 backends, 1 free); start \
             the agent with --map-size BACKENDS=ENTRIES, more than now",
        ),
        (
            |c| c.members = 3,
            "no room for 2 members in MEMBERS (3 members, 1 free); start \
             the agent with --map-size MEMBERS=ENTRIES, more than now",
        ),
        (
            |c| c.lb_table = 3,
            "no room for 2 slots in LB_TABLE (3 slots, 1 free); start \
             the agent with --map-size LB_TABLE=ENTRIES, more than now",
        ),
    ];
    for (shrink, text) in cases {
        let mut capacity = SMALL;
        shrink(&mut capacity);
        let mut node = Node::new(capacity);
        node.service("a", Some(&affine(&[1], &[1, 2])));
        let plan = node.service("b", Some(&affine(&[2], &[3, 4])));
        assert_eq!(plan.ops, [], "{text}");
        assert!(
            plan.refusals[0].to_string().ends_with(text),
            "{} for {text}",
            plan.refusals[0]
        );
        assert_eq!(node.reach(1), Some(addresses(&[1, 2])));
        node.assert_as_expected();
        node.kernel.assert_fits(&capacity);

        // Nothing leaked: with room, the same fits.
        node.service("a", None);
        node.wait(REST);
        assert_eq!(node.ledger.refused_services(node.now), [name("b")]);
        let plan = node.service("b", Some(&affine(&[2], &[3, 4])));
        assert_eq!(plan.refusals, [], "{text}");
        assert_eq!(node.reach(2), Some(addresses(&[3, 4])));
    }
}

#[test]
fn a_service_that_fits_again_frees_what_it_does_not_need() {
    let mut capacity = SMALL;
    capacity.backends = 3;
    let mut node = Node::new(capacity);
    node.service("a", Some(&service(&[1], &[1, 2])));
    assert_eq!(node.service("a", Some(&service(&[1], &[1, 2, 3]))).ops, []);
    assert_eq!(node.service("a", Some(&service(&[1], &[2]))).refusals, []);
    node.wait(REST);
    let plan = node.service("a", Some(&service(&[1], &[2, 3])));
    assert_eq!(plan.refusals, []);
    node.assert_as_expected();
}

#[test]
fn pods_are_refused_alone() {
    let mut capacity = SMALL;
    (capacity.workloads, capacity.pods) = (3, 1);
    let mut node = Node::new(capacity);
    node.workload(1, Some(&workload(&[1], Some(101))));
    let plan = node.workload(2, Some(&workload(&[2], Some(102))));
    assert_eq!(
        plan.refusals[0].to_string(),
        "Pod shop/pod-2 network namespace 102: no room for 1 pod in PODS (1 pod, 0 free); start \
             the agent with --map-size PODS=ENTRIES, more than now"
    );
    let plan = node.workload(3, Some(&workload(&[3, 4], None)));
    assert_eq!(
        plan.refusals[0].to_string(),
        "Pod shop/pod-3 addresses: no room for 2 addresses in WORKLOADS (3 addresses, 1 free); start \
             the agent with --map-size WORKLOADS=ENTRIES, more than now"
    );
    assert!(node.ledger.refused_workloads(node.now).is_empty());
    node.workload(1, None);
    assert_eq!(node.ledger.refused_workloads(node.now), [pod(2), pod(3)]);
    assert_eq!(node.workload(2, Some(&workload(&[2], Some(102)))).refusals, []);
    assert_eq!(node.workload(3, Some(&workload(&[3, 4], None))).refusals, []);
    node.assert_as_expected();
}

/// Else it would be let out for want of room.
#[test]
fn a_pod_without_room_for_its_namespace_stays_pending() {
    let full: [fn(&mut Capacity); 2] = [|c| c.pods = 1, |c| c.workloads = 1];
    for (index, shrink) in full.into_iter().enumerate() {
        // Pending before; not, but the agent knows its cgroup; the same under the next agent.
        for (before, cgroup, restart) in [
            (true, None, false),
            (false, Some(7), false),
            (true, Some(7), true),
        ] {
            let case = format!("table {index}, {before} {cgroup:?} {restart}");
            let mut capacity = SMALL;
            shrink(&mut capacity);
            let mut node = Node::new(capacity);
            node.workload(1, Some(&workload(&[1], Some(101))));
            let closed = |netns, cgroup| Workload {
                local: true,
                enrolled: true,
                fails_closed: true,
                addresses: workload(&[2], None).addresses,
                cgroup,
                netns,
                ..Workload::default()
            };
            if before {
                node.workload(2, Some(&closed(None, Some(7))));
            }
            if restart {
                node.restart(capacity);
                node.workload(1, Some(&workload(&[1], Some(101))));
            }
            let wanted = closed(Some(102), cgroup);
            let plan = node.workload(2, Some(&wanted));
            assert!(!plan.refusals.is_empty(), "{case}");
            assert!(!plan.ops.contains(&Op::RemovePending(7)), "{case}: {plan:?}");
            assert_eq!(
                node.kernel.pending.get(&7).map(|pod| pod.workload.flags()),
                Some(flag::CLOSED),
                "{case}"
            );
            assert!(node.ledger.refused_without_netns().eq([&pod(2)]), "{case}");
            assert_eq!(node.workload(2, Some(&wanted)).ops, [], "{case}: again");
            node.retire();
            assert!(node.kernel.pending.contains_key(&7), "{case}");
            node.assert_as_expected();

            node.workload(1, None);
            let plan = node.workload(2, Some(&wanted));
            assert!(
                matches!(
                    plan.ops[..],
                    [.., Op::SetPod { netns: 102, .. }, Op::RemovePending(7)]
                ),
                "{case}: {plan:?}"
            );
            assert_eq!(node.ledger.refused_without_netns().count(), 0, "{case}");
            node.assert_as_expected();
        }
    }
}

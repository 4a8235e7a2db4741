//! Pods, one case each.

use std::time::Duration;

use mesh_common::tag::{Tagged, hash_addr};
use mesh_common::workload::{PodRef, flag, hash_cookie};

use super::fixture::*;
use crate::model::desired::Workload;
use crate::model::op::Op;

fn value(addr: u8, id: u32, flags: u8) -> Tagged {
    Tagged::new(id, flags, hash_addr(&pod_addr(addr)))
}

fn set(addr: u8, id: u32, flags: u8) -> Op {
    let value = value(addr, id, flags);
    let addr = pod_addr(addr);
    Op::SetWorkload { addr, value }
}

#[test]
fn a_local_pod_comes_with_its_addresses_first_and_goes_with_its_namespace_first() {
    let mut node = Node::new(SMALL);
    let plan = node.workload(1, Some(&workload(&[1, 2, 1], Some(101))));
    let pod = PodRef {
        workload: Tagged::new(1, 0, hash_cookie(101)),
        seed: u32::try_from(hash_addr(&pod_addr(1)) >> 32).unwrap(),
        entered_ms: 1_000_000,
    };
    let flags = flag::LOCAL | flag::ENROLLED;
    let netns = 101;
    assert_eq!(
        plan.ops,
        [set(1, 1, flags), set(2, 1, flags), Op::SetPod { netns, pod }]
    );
    assert_eq!(
        node.workload(1, Some(&workload(&[1, 2], Some(101)))).ops,
        [],
        "again"
    );
    assert_eq!(node.ledger.workload(1), Some(&super::fixture::pod(1)));
    node.assert_as_expected();
    let plan = node.workload(1, None);
    let remove = |addr| Op::RemoveWorkload(pod_addr(addr));
    assert_eq!(plan.ops, [Op::RemovePod(101), remove(1), remove(2)]);
    node.assert_as_expected();
}

/// Sockets from before that time are not ours.
#[test]
fn an_entry_keeps_the_time_it_was_made() {
    let mut node = Node::new(SMALL);
    let entered = |node: &Node| node.kernel.observe().pods[0].1.entered_ms;
    let mut pod = workload(&[1], Some(101));
    node.workload(1, Some(&pod));
    assert_eq!(entered(&node), 1_000_000);
    node.wait(Duration::from_secs(10));
    pod.accelerated = true;
    assert_eq!(node.workload(1, Some(&pod)).ops.len(), 2, "address and namespace");
    assert_eq!(entered(&node), 1_000_000);
    node.restart(SMALL);
    pod.accelerated = false;
    node.workload(1, Some(&pod));
    assert_eq!(entered(&node), 1_000_000);
    node.workload(1, None);
    node.workload(1, Some(&pod));
    assert_eq!(entered(&node), 1_010_000);
}

#[test]
fn a_pending_pod_is_known_by_its_cgroup_until_its_namespace_is() {
    let mut node = Node::new(SMALL);
    let mut wanted = Workload {
        local: true,
        enrolled: true,
        fails_closed: true,
        cgroup: Some(7),
        ..Workload::default()
    };
    let cgroup = 7;
    let pod = PodRef {
        workload: Tagged::new(1, flag::CLOSED, hash_cookie(cgroup)),
        seed: (hash_cookie(cgroup) >> 32) as u32,
        entered_ms: 0,
    };
    let pending = [Op::SetPending { cgroup, pod }];
    assert_eq!(node.workload(1, Some(&wanted)).ops, pending);
    assert_eq!(node.workload(1, Some(&wanted)).ops, [], "again");

    // Another agent takes over, under whom it gets its address, and then its namespace.
    node.restart(SMALL);
    assert_eq!(node.workload(1, Some(&wanted)).ops, []);
    assert_eq!(node.retire().ops, []);
    wanted.addresses = vec![pod_addr(1)];
    let flags = flag::LOCAL | flag::ENROLLED | flag::CLOSED;
    assert!(node.workload(1, Some(&wanted)).ops.contains(&set(1, 1, flags)));
    wanted.netns = Some(101);
    let ops = node.workload(1, Some(&wanted)).ops;
    assert!(
        matches!(ops[..], [Op::SetPod { netns: 101, pod }, Op::RemovePending(7)] if pod.workload.flags() == flag::CLOSED)
    );
    node.assert_as_expected();

    // Back again: it is never unknown in between.
    wanted.netns = None;
    let ops = node.workload(1, Some(&wanted)).ops;
    assert!(
        matches!(ops[..], [Op::SetPending { cgroup: 7, .. }, Op::RemovePod(101)]),
        "{ops:?}"
    );
    node.assert_as_expected();
    wanted.enrolled = false;
    let ops = node.workload(1, Some(&wanted)).ops;
    assert_eq!(ops, [set(1, 1, flag::LOCAL), Op::RemovePending(7)]);
}

#[test]
fn a_pending_pod_nobody_wants_any_more_goes_with_its_agent() {
    let mut node = Node::new(SMALL);
    let wanted = Workload {
        local: true,
        enrolled: true,
        cgroup: Some(7),
        ..Workload::default()
    };
    node.workload(1, Some(&wanted));
    node.restart(SMALL);
    assert_eq!(node.retire().ops, [Op::RemovePending(7)]);
    node.assert_as_expected();
}

#[test]
fn only_local_enrolled_pods_are_known_by_their_namespace() {
    let mut node = Node::new(SMALL);
    let mut wanted = workload(&[1], Some(101));
    node.workload(1, Some(&wanted));
    wanted.enrolled = false;
    let plan = node.workload(1, Some(&wanted));
    assert_eq!(plan.ops, [Op::RemovePod(101), set(1, 1, flag::LOCAL)]);
    (wanted.enrolled, wanted.local) = (true, false);
    assert_eq!(node.workload(1, Some(&wanted)).ops, [set(1, 1, flag::ENROLLED)]);
}

#[test]
fn an_address_taken_over_is_the_new_pods() {
    let mut node = Node::new(SMALL);
    node.workload(1, Some(&workload(&[1], None)));
    assert_eq!(node.workload(2, Some(&workload(&[1], None))).ops, [set(1, 2, 0)]);
    assert_eq!(node.workload(1, None).ops, []);
    assert_eq!(node.kernel.workloads[&pod_addr(1)], value(1, 2, 0));
    assert_eq!(node.workload(2, None).ops, [Op::RemoveWorkload(pod_addr(1))]);
}

#[test]
fn a_shared_address_goes_back_to_who_still_has_it() {
    let mut node = Node::new(SMALL);
    node.workload(1, Some(&workload(&[1], Some(101))));
    node.workload(2, Some(&workload(&[1], Some(101))));
    assert_eq!(node.workload(1, Some(&workload(&[1], Some(101)))).ops, []);
    let plan = node.workload(2, None);
    assert_eq!(plan.ops.len(), 2);
    assert_eq!(node.kernel.workloads[&pod_addr(1)].id(), 1);
    assert_eq!(node.kernel.pods[&101].workload.id(), 1);
    node.assert_as_expected();
}

#[test]
fn a_pod_has_one_id_as_workload_and_as_endpoint_in_either_order() {
    for service_first in [false, true] {
        let mut node = Node::new(SMALL);
        node.workload(9, Some(&workload(&[9], None)));
        if service_first {
            node.service("web", Some(&service(&[1], &[1])));
        }
        node.workload(1, Some(&workload(&[1], None)));
        node.service("web", Some(&service(&[1], &[1])));
        assert_eq!(node.kernel.backends[&1].workload, 2);
        assert_eq!(node.kernel.workloads[&pod_addr(1)].id(), 2);

        // It stays while either knows it.
        node.workload(1, None);
        assert_eq!(node.service("web", Some(&service(&[1], &[1]))).ops, []);
        node.workload(1, Some(&workload(&[1], None)));
        node.service("web", None);
        assert_eq!(node.workload(1, Some(&workload(&[1], None))).ops, []);
        node.assert_as_expected();
    }
}

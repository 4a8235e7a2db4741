use std::net::Ipv4Addr;

use super::*;

const VIEW: Viewpoint<'_> = Viewpoint {
    node: "here",
    zone: Some("a"),
    local_only: false,
};

const READY: Conditions = conditions(true, true, false);
const UNREADY: Conditions = conditions(false, false, false);
const DRAINING: Conditions = conditions(false, true, true);
const DEAD: Conditions = conditions(false, false, true);

const fn conditions(ready: bool, serving: bool, terminating: bool) -> Conditions {
    Conditions {
        ready,
        serving,
        terminating,
    }
}

fn candidate(last: u8, conditions: Conditions) -> Candidate<'static> {
    Candidate {
        addr: Ipv4Addr::new(10, 0, 0, last).into(),
        port: 80,
        pod: None,
        conditions,
        local: false,
        zones: &[],
        nodes: &[],
    }
}

/// The last bytes of the addresses that were chosen.
fn chosen(candidates: Vec<Candidate<'_>>, view: Viewpoint<'_>) -> Vec<u8> {
    let last = |it: Candidate<'_>| it.addr.v4_word().to_ne_bytes()[3];
    choose(candidates, view).into_iter().map(last).collect()
}

#[test]
fn readiness_decides_and_the_dying_serve_when_nobody_else_does() {
    for (states, expected) in [
        (vec![], vec![]),
        (vec![READY, READY], vec![0, 1]),
        (vec![READY, UNREADY, DRAINING, DEAD], vec![0]),
        (vec![UNREADY, DRAINING, DEAD], vec![1]),
        (vec![UNREADY, DEAD], vec![]),
        (vec![UNREADY], vec![]),
        // Unready, serving and not ending: Kubernetes does not produce it, and nobody asked for it.
        (vec![conditions(false, true, false)], vec![]),
        // Ready and ending: where a Service publishes what is not ready, and in slices made by hand.
        (vec![conditions(true, true, true), READY], vec![0, 1]),
        (vec![conditions(true, false, true)], vec![0]),
        (vec![conditions(true, false, false), DRAINING], vec![0]),
    ] {
        let candidates = (0..)
            .zip(&states)
            .map(|(at, state)| candidate(at, *state))
            .collect();
        assert_eq!(chosen(candidates, VIEW), expected, "{states:?}");
    }
}

#[test]
fn local_means_this_node_or_nothing() {
    let view = Viewpoint {
        local_only: true,
        ..VIEW
    };
    let local = |last, conditions| Candidate {
        local: true,
        ..candidate(last, conditions)
    };
    assert_eq!(chosen(vec![candidate(0, READY), local(1, READY)], view), [1]);
    assert_eq!(chosen(vec![candidate(0, READY), local(1, DRAINING)], view), [1]);
    assert_eq!(
        chosen(vec![candidate(0, READY), local(1, UNREADY)], view),
        [0_u8; 0]
    );
    assert_eq!(chosen(vec![candidate(0, READY)], view), [0_u8; 0]);
}

/// What an endpoint says of itself: its conditions, and the zones and nodes it is meant for.
type Said = (Conditions, &'static [&'static str], &'static [&'static str]);

fn hinted(said: &[Said], view: Viewpoint<'_>) -> Vec<u8> {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let hints: Vec<_> = said.iter().map(|it| (owned(it.1), owned(it.2))).collect();
    let candidates = (0..)
        .zip(said)
        .zip(&hints)
        .map(|((at, it), (zones, nodes))| Candidate {
            zones,
            nodes,
            ..candidate(at, it.0)
        });
    chosen(candidates.collect(), view)
}

#[test]
fn hints_are_followed_as_kube_proxy_does() {
    let none: &[&str] = &[];
    let (a, b) = (&["a"][..], &["b"][..]);
    let (here, there) = (&["here"][..], &["there"][..]);
    for (why, endpoints, expected) in [
        (
            "nobody has a hint",
            vec![(READY, none, none), (READY, none, none)],
            vec![0, 1],
        ),
        (
            "each for a zone",
            vec![(READY, a, none), (READY, b, none)],
            vec![0],
        ),
        (
            "for several zones",
            vec![(READY, b, none), (READY, &["b", "a"], none)],
            vec![1],
        ),
        (
            "one without a hint",
            vec![(READY, a, none), (READY, b, none), (READY, none, none)],
            vec![0, 1, 2],
        ),
        (
            "none for our zone",
            vec![(READY, b, none), (READY, b, none)],
            vec![0, 1],
        ),
        (
            "who is not ready has no say",
            vec![(READY, a, none), (READY, b, none), (UNREADY, none, none)],
            vec![0],
        ),
        (
            "ours is not ready",
            vec![(UNREADY, a, none), (READY, b, none)],
            vec![1],
        ),
        (
            "ours is ending",
            vec![(DRAINING, a, none), (READY, b, none)],
            vec![1],
        ),
        (
            "all are ending",
            vec![(DRAINING, a, none), (DRAINING, b, none)],
            vec![0, 1],
        ),
        (
            "each for a node",
            vec![(READY, none, here), (READY, none, there)],
            vec![0],
        ),
        (
            "one for no node",
            vec![(READY, none, here), (READY, none, none)],
            vec![0, 1],
        ),
        (
            "none for our node",
            vec![(READY, none, there), (READY, none, there)],
            vec![0, 1],
        ),
        (
            "the node before the zone",
            vec![(READY, a, here), (READY, a, there)],
            vec![0],
        ),
        (
            "else the zone",
            vec![(READY, a, there), (READY, b, there)],
            vec![0],
        ),
        (
            "one for no node, else the zone",
            vec![(READY, a, here), (READY, b, none)],
            vec![0],
        ),
        (
            "our node is in no zone of theirs",
            vec![(READY, b, here), (READY, b, there)],
            vec![0],
        ),
    ] {
        assert_eq!(hinted(&endpoints, VIEW), expected, "{why}");
    }
}

#[test]
fn a_node_without_a_zone_follows_hints_for_nodes_only() {
    let nowhere = Viewpoint { zone: None, ..VIEW };
    let zones: [Said; 2] = [(READY, &["a"], &[]), (READY, &["b"], &[])];
    assert_eq!(hinted(&zones, nowhere), [0, 1]);
    let nodes: [Said; 2] = [(READY, &["a"], &["there"]), (READY, &["b"], &["here"])];
    assert_eq!(hinted(&nodes, nowhere), [1]);
}

#[test]
fn local_traffic_ignores_hints() {
    let local = Viewpoint {
        local_only: true,
        ..VIEW
    };
    let (a, b) = (["a".to_owned()], ["b".to_owned()]);
    let here = |last, zones| Candidate {
        local: true,
        zones,
        ..candidate(last, READY)
    };
    let there = Candidate {
        zones: &a,
        ..candidate(2, READY)
    };
    assert_eq!(chosen(vec![here(0, &b), here(1, &a), there], local), [0, 1]);
}

#[test]
fn who_is_not_used_is_told_why() {
    let local = Viewpoint {
        local_only: true,
        ..VIEW
    };
    let (a, b) = (["a".to_owned()], ["b".to_owned()]);
    let here = |last, conditions| Candidate {
        local: true,
        ..candidate(last, conditions)
    };
    let meant = |last, zones| Candidate {
        zones,
        ..candidate(last, READY)
    };
    for (candidates, view, expected) in [
        (
            vec![
                candidate(0, READY),
                candidate(1, UNREADY),
                candidate(2, DRAINING),
                candidate(3, DEAD),
            ],
            VIEW,
            vec![
                (1, Unused::NotReady),
                (2, Unused::Terminating),
                (3, Unused::NotReady),
            ],
        ),
        (
            vec![candidate(0, DRAINING), candidate(1, DEAD)],
            VIEW,
            vec![(1, Unused::NotReady)],
        ),
        (vec![meant(0, &a), meant(1, &b)], VIEW, vec![(1, Unused::Hints)]),
        (
            vec![candidate(0, READY), here(1, UNREADY), here(2, READY)],
            local,
            vec![(0, Unused::Elsewhere), (1, Unused::NotReady)],
        ),
    ] {
        let used = chosen(candidates.clone(), view);
        let unused = (0..).zip(&candidates).filter(|(at, _)| !used.contains(at));
        let told: Vec<_> = unused.map(|(at, it)| (at, why_not(it, view))).collect();
        assert_eq!(told, expected);
    }
}

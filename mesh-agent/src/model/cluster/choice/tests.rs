use std::net::Ipv4Addr;

use super::*;

const VIEW: Viewpoint<'_> = Viewpoint {
    node: "here",
    zone: Some("a"),
    local_only: false,
    publish_not_ready: false,
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
        // Ready and ending: only where a Service wants it so.
        (vec![conditions(true, true, true), READY], vec![1]),
        (vec![conditions(true, true, true)], vec![0]),
        (vec![conditions(true, false, true)], vec![]),
    ] {
        let candidates = (0..)
            .zip(&states)
            .map(|(at, state)| candidate(at, *state))
            .collect();
        assert_eq!(chosen(candidates, VIEW), expected, "{states:?}");
    }
}

#[test]
fn a_service_may_want_what_is_not_ready() {
    let view = Viewpoint {
        publish_not_ready: true,
        ..VIEW
    };
    let ending = candidate(1, conditions(true, false, true));
    assert_eq!(chosen(vec![candidate(0, READY), ending], view), [0, 1]);
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

#[test]
fn hints_for_the_zone_hold_when_everybody_has_one_and_somebody_is_left() {
    let (a, b, both) = (
        ["a".to_owned()],
        ["b".to_owned()],
        ["a".to_owned(), "b".to_owned()],
    );
    let hinted = |last, zones| Candidate {
        zones,
        ..candidate(last, READY)
    };
    let cases = |view| {
        [
            chosen(vec![hinted(0, &a), hinted(1, &b), hinted(2, &both)], view),
            chosen(vec![hinted(0, &a), hinted(1, &b), candidate(2, READY)], view),
            chosen(vec![hinted(0, &b), hinted(1, &b)], view),
            // An endpoint that is not used has no say.
            chosen(vec![hinted(0, &a), hinted(1, &b), candidate(2, UNREADY)], view),
        ]
    };
    assert_eq!(cases(VIEW), [vec![0, 2], vec![0, 1, 2], vec![0, 1], vec![0]]);
    let nowhere = Viewpoint { zone: None, ..VIEW };
    assert_eq!(
        cases(nowhere),
        [vec![0, 1, 2], vec![0, 1, 2], vec![0, 1], vec![0, 1]]
    );
    let local = Viewpoint {
        local_only: true,
        ..VIEW
    };
    let here = Candidate {
        local: true,
        ..hinted(0, &b)
    };
    assert_eq!(chosen(vec![here, hinted(1, &a)], local), [0]);
}

#[test]
fn hints_for_the_node_go_before_those_for_the_zone() {
    let (here, there, a) = (["here".to_owned()], ["there".to_owned()], ["a".to_owned()]);
    let hinted = |last, nodes| Candidate {
        nodes,
        zones: &a,
        ..candidate(last, READY)
    };
    assert_eq!(chosen(vec![hinted(0, &here), hinted(1, &there)], VIEW), [0]);
    assert_eq!(chosen(vec![hinted(0, &there), hinted(1, &there)], VIEW), [0, 1]);
    assert_eq!(chosen(vec![hinted(0, &here), hinted(1, &[])], VIEW), [0, 1]);
}

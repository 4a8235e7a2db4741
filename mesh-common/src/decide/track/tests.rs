use super::*;
use crate::addr::{Addr, Port};
use crate::conntrack::TrackKey;

use Direction::{Egress, Ingress};

const OPENS: Segment = Segment {
    flags: SYN,
    payload: false,
};
const RESETS: Segment = Segment {
    flags: RST | ACK,
    payload: false,
};
const DATA: Segment = Segment {
    flags: ACK,
    payload: true,
};

fn entry(policy: u32, flags: u8) -> Tagged {
    let key = TrackKey {
        pod: 1,
        remote: Addr::default(),
        local_port: Port::new(1),
        remote_port: Port::new(2),
        protocol: 6,
        reserved: [0; 3],
    };
    key.judged(policy, flags)
}

/// The policies: ingress, egress.
fn says(ingress: Ruling, egress: Ruling) -> impl FnMut(Direction) -> Ruling {
    move |direction| match direction {
        Ingress => ingress,
        Egress => egress,
    }
}

fn never(direction: Direction) -> Ruling {
    panic!("asked for {direction:?}")
}

const fn no() -> bool {
    false
}

const fn current(flags: u8) -> Standing {
    Standing::Current { flags }
}

#[test]
fn what_is_remembered_holds_until_the_policies_change() {
    let of = |flags, policy, audit| standing(Some(entry(7, flags)), policy, audit);
    assert_eq!(standing(None, 7, false), Standing::Unknown);
    assert_eq!(of(flag::BY_PEER, 7, false), current(flag::BY_PEER));
    assert_eq!(of(flag::BY_PEER, 8, false), Standing::Stale { opened: Ingress });
    assert_eq!(of(0, 8, false), Standing::Stale { opened: Egress });
    assert_eq!(of(flag::HOST, 8, false), current(flag::HOST));
    assert_eq!(of(flag::AUDITED, 7, true), current(flag::AUDITED));
    assert_eq!(of(flag::AUDITED, 7, false), Standing::Stale { opened: Egress });
    assert_eq!(of(flag::REFUSED | flag::BY_PEER, 7, false), Standing::Refused);
}

#[test]
fn datagrams_of_a_known_flow_pass_both_ways_unasked() {
    for way in [Ingress, Egress] {
        for flags in [0, flag::BY_PEER, flag::HOST] {
            let decision = datagram(way, current(flags), no, never);
            assert_eq!(decision, Decision::pass(way, Change::Refresh));
        }
    }
}

#[test]
fn a_datagram_of_no_flow_is_judged_in_its_own_direction_only() {
    let closed_in = || says(Ruling::Denied, Ruling::Allowed);
    let out = datagram(Egress, Standing::Unknown, no, closed_in());
    assert_eq!((out.passes, out.change), (true, Change::Enter(0)));
    let into = datagram(Ingress, Standing::Unknown, no, closed_in());
    assert_eq!((into.passes, into.change), (false, Change::None));
    assert_eq!((into.direction, into.said), (Ingress, Some(Ruling::Denied)));

    let closed_out = || says(Ruling::Open, Ruling::Denied);
    assert!(!datagram(Egress, Standing::Unknown, no, closed_out()).passes);
    let into = datagram(Ingress, Standing::Unknown, no, closed_out());
    assert_eq!((into.passes, into.change), (true, Change::Enter(flag::BY_PEER)));
}

#[test]
fn what_is_only_reported_passes_and_is_remembered_as_that() {
    let out = datagram(
        Egress,
        Standing::Unknown,
        no,
        says(Ruling::Denied, Ruling::Audited),
    );
    assert_eq!((out.passes, out.change), (true, Change::Enter(flag::AUDITED)));
    assert_eq!((out.direction, out.said), (Egress, Some(Ruling::Audited)));
}

#[test]
fn the_hosts_own_is_never_judged() {
    let entered = Change::Enter(flag::BY_PEER | flag::HOST);
    let into = datagram(Ingress, Standing::Unknown, || true, never);
    assert_eq!((into.passes, into.change), (true, entered));
    for kind in [OPENS, DATA, RESETS] {
        let into = segment(Ingress, kind, Standing::Unknown, || true, never);
        assert_eq!((into.passes, into.change), (true, entered));
    }
    // What leaves the pod is not the host's, whatever it looks like.
    let out = datagram(
        Egress,
        Standing::Unknown,
        || true,
        says(Ruling::Open, Ruling::Denied),
    );
    assert!(!out.passes);
}

#[test]
fn an_old_flow_is_judged_again_as_it_was_opened() {
    let stale = |opened| Standing::Stale { opened };
    // An answer of the pod to what its peer may still ask, and may no longer.
    let answer = datagram(Egress, stale(Ingress), no, says(Ruling::Allowed, Ruling::Denied));
    assert_eq!(
        (answer.passes, answer.change),
        (true, Change::Enter(flag::BY_PEER))
    );
    let answer = datagram(Egress, stale(Ingress), no, says(Ruling::Denied, Ruling::Denied));
    assert!(!answer.passes);
    for way in [Ingress, Egress] {
        let data = segment(
            way,
            DATA,
            stale(Ingress),
            no,
            says(Ruling::Allowed, Ruling::Denied),
        );
        assert_eq!((data.passes, data.change), (true, Change::Enter(flag::BY_PEER)));
        // That the pod may open such a flow is no excuse for one that it did not open.
        let data = segment(way, DATA, stale(Ingress), no, says(Ruling::Denied, Ruling::Open));
        assert_eq!((data.passes, data.change), (false, Change::None));
        assert_eq!((data.direction, data.said), (Ingress, Some(Ruling::Denied)));
    }
}

#[test]
fn a_connection_is_judged_where_it_opens() {
    let out = segment(
        Egress,
        OPENS,
        Standing::Unknown,
        no,
        says(Ruling::Open, Ruling::Denied),
    );
    assert_eq!((out.passes, out.change), (false, Change::None));
    let out = segment(
        Egress,
        OPENS,
        Standing::Unknown,
        no,
        says(Ruling::Denied, Ruling::Allowed),
    );
    assert_eq!((out.passes, out.change), (true, Change::Enter(0)));
    let into = segment(
        Ingress,
        OPENS,
        Standing::Unknown,
        no,
        says(Ruling::Allowed, Ruling::Denied),
    );
    assert_eq!((into.passes, into.change), (true, Change::Enter(flag::BY_PEER)));
    // Ports are used again: the ends of the former connection are forgotten.
    let again = segment(
        Egress,
        OPENS,
        current(flag::FIN_BY_POD | flag::FIN_BY_PEER),
        no,
        says(Ruling::Denied, Ruling::Open),
    );
    assert_eq!((again.passes, again.change), (true, Change::Enter(0)));
}

#[test]
fn a_refused_peer_is_let_in_as_far_as_a_reset_needs() {
    let closed = || says(Ruling::Denied, Ruling::Denied);
    let refused = Change::Enter(flag::BY_PEER | flag::REFUSED);
    let into = segment(Ingress, OPENS, Standing::Unknown, no, closed());
    assert_eq!((into.passes, into.change), (true, refused));
    assert_eq!((into.direction, into.said), (Ingress, Some(Ruling::Denied)));
    // Again, since the first may be lost.
    assert!(segment(Ingress, OPENS, Standing::Refused, no, closed()).passes);
    let with_data = Segment {
        payload: true,
        ..OPENS
    };
    let into = segment(Ingress, with_data, Standing::Unknown, no, closed());
    assert_eq!((into.passes, into.change), (false, Change::None));
    // A flow that is there is not given up for it.
    let into = segment(Ingress, OPENS, current(0), no, closed());
    assert_eq!((into.passes, into.change), (false, Change::None));

    let reset = segment(Egress, RESETS, Standing::Refused, no, never);
    assert_eq!(reset, Decision::pass(Egress, Change::Forget));
    let accepts = Segment {
        flags: SYN | ACK,
        payload: false,
    };
    for (way, kind) in [
        (Egress, accepts),
        (Egress, DATA),
        (Ingress, DATA),
        (Ingress, RESETS),
    ] {
        assert!(!segment(way, kind, Standing::Refused, no, never).passes);
    }
}

#[test]
fn a_segment_of_no_flow_passes_where_either_end_may_have_opened_it() {
    for way in [Ingress, Egress] {
        let of = |ingress, egress| segment(way, DATA, Standing::Unknown, no, says(ingress, egress));
        let none = of(Ruling::Denied, Ruling::Denied);
        assert_eq!((none.passes, none.change), (false, Change::None));
        let by_peer = of(Ruling::Allowed, Ruling::Denied);
        assert_eq!(
            (by_peer.passes, by_peer.change),
            (true, Change::Enter(flag::BY_PEER))
        );
        let by_pod = of(Ruling::Denied, Ruling::Allowed);
        assert_eq!((by_pod.passes, by_pod.change), (true, Change::Enter(0)));
        let reset = segment(
            way,
            RESETS,
            Standing::Unknown,
            no,
            says(Ruling::Open, Ruling::Denied),
        );
        assert_eq!((reset.passes, reset.change), (true, Change::None));
    }
}

#[test]
fn a_connection_is_forgotten_when_it_is_over() {
    let reset = segment(Ingress, RESETS, current(0), no, never);
    assert_eq!(reset, Decision::pass(Ingress, Change::Forget));

    let last = Segment {
        flags: FIN | ACK,
        payload: false,
    };
    let acknowledges = Segment {
        flags: ACK,
        payload: false,
    };
    let change = |way, kind, flags| segment(way, kind, current(flags), no, never).change;
    assert_eq!(change(Egress, last, 0), Change::Enter(flag::FIN_BY_POD));
    assert_eq!(change(Egress, last, flag::FIN_BY_POD), Change::None);
    assert_eq!(change(Ingress, acknowledges, flag::FIN_BY_POD), Change::None);
    assert_eq!(change(Ingress, DATA, flag::FIN_BY_POD), Change::None);
    let both = flag::FIN_BY_POD | flag::FIN_BY_PEER;
    assert_eq!(change(Ingress, last, flag::FIN_BY_POD), Change::Enter(both));
    assert_eq!(change(Egress, acknowledges, both), Change::Forget);
}

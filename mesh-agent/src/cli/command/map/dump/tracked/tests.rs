use mesh_common::{accel::Moved, addr::Port, decide::quota};

use super::*;
use crate::cli::held::sample::{self, addr};

const NOW: Duration = Duration::from_secs(130);

fn line((key, value): (Fields, Fields)) -> String {
    format!("{key} -> {value}")
}

fn key(protocol: u8) -> TrackKey {
    TrackKey {
        pod: 1,
        remote: addr("10.0.1.2"),
        local_port: Port::new(40_000),
        remote_port: Port::new(53),
        protocol,
        reserved: [0; 3],
    }
}

#[test]
fn flows_that_were_judged_are_in_words() {
    let held = sample::held();
    let asked = Tracked {
        last_ns: 127_000_000_000,
        judged: key(17).judged(9, 0),
    };
    let probed = key(6).judged(8, flag::BY_PEER | flag::HOST | flag::FIN_BY_PEER);
    let refused = key(6).judged(9, flag::BY_PEER | flag::REFUSED);
    let piece = FragmentKey {
        pod: 1,
        source: addr("10.0.1.2"),
        destination: addr("10.0.1.1"),
        id: 0x11_abcd,
        direction: 0,
        reserved: [0; 3],
    };
    let lines = [
        line(datagrams(&held, NOW, key(17), asked)),
        line(connection(&held, key(6), probed)),
        line(connection(&held, key(6), refused)),
        line(pieces(&held, NOW, piece, 129_500_000_000)),
    ];
    assert_eq!(
        lines,
        [
            "pod=shop/client id=1 protocol=UDP localPort=40000 remote=10.0.1.2:53 -> idle=3s openedBy=pod \
             host=false audited=false policyGeneration=9",
            "pod=shop/client id=1 protocol=TCP localPort=40000 remote=10.0.1.2:53 -> openedBy=peer host=true \
             audited=false policyGeneration=8 refused=false finByPod=false finByPeer=true",
            "pod=shop/client id=1 protocol=TCP localPort=40000 remote=10.0.1.2:53 -> openedBy=peer host=false \
             audited=false policyGeneration=9 refused=true finByPod=false finByPeer=false",
            "pod=shop/client id=1 direction=ingress source=10.0.1.2 destination=10.0.1.1 packet=0011abcd -> \
             age=500ms",
        ]
    );
}

#[test]
fn handshakes_quotas_and_sockets_are_in_words() {
    let held = sample::held();
    let asked = Inbound {
        local: addr("10.0.1.1"),
        remote: addr("192.0.2.1"),
        local_port: Port::new(80),
        remote_port: Port::new(40_000),
    };
    let end = SocketKey {
        pod: 1,
        local: addr("10.0.1.1"),
        remote: addr("10.0.1.2"),
        local_port: Port::new(80),
        remote_port: Port::new(40_000),
    };
    let spliced = Splice {
        sk: 0xffff_8880_0000_0000,
        cookie: 11,
        received: Moved {
            messages: 2,
            bytes: 30,
        },
        ..Splice::default()
    };
    let used = Quotas {
        flows: quota::take(0, nanos(NOW), FLOWS_STRETCH_NS, 9).unwrap(),
        asked: 0,
        events: quota::take(0, 1, EVENTS_STRETCH_NS, 9).unwrap(),
    };
    let lines = [
        line(handshake(&held, NOW, asked, Stamp::new(&asked, 60_000_000_000))),
        line(quotas(&held, NOW, 1, used)),
        line(splice(&held, end, spliced)),
    ];
    assert_eq!(
        lines,
        [
            "local=10.0.1.1:80 remote=192.0.2.1:40000 -> pod=shop/client age=1m10s",
            "pod=shop/client id=1 -> flowsThisMinute=1 askedThisMinute=0 eventsThisSecond=0",
            "pod=shop/client id=1 local=10.0.1.1:80 remote=10.0.1.2:40000 -> socket=11 own=false \
             receivedMessages=2 receivedBytes=30",
        ]
    );
}

use mesh_common::{
    addr::{Addr, Port},
    flow::TcpFigures,
    packet::{UdpKey, UdpTraffic},
    sock::SockState,
};

use super::*;
use crate::cli::held::sample;

const NOW: Duration = Duration::from_secs(100);

/// `shop/client` to `shop/web`, and what a pod without a name accepted from outside.
fn flows() -> [LiveFlow; 2] {
    let out = SockState {
        asked_addr: sample::addr("10.96.0.10"),
        asked_port: Port::new(80),
        remote_addr: sample::addr("10.0.1.2"),
        remote_port: Port::new(8080),
        local_addr: sample::addr("10.0.1.1"),
        local_port: Port::new(40_000),
        service: 1,
        backend: 1,
        flags: flag::ACTIVE,
        pod: 1,
        peer: 2,
        netns: 4_026,
        cookie: 77,
        opened_ns: 35_000_000_000,
        established_ns: 35_000_100_000,
        ..SockState::default()
    };
    let tcp = TcpFigures {
        bytes_acked: 2_049,
        bytes_received: 10,
        segs_out: 5,
        segs_in: 4,
        srtt_us8: 2_000,
        retransmits: 1,
        state: state::ESTABLISHED,
        ..TcpFigures::default()
    };
    let accepted = SockState {
        asked_addr: sample::addr("fd00::1:4"),
        asked_port: Port::new(80),
        remote_addr: sample::addr("2001:db8::7"),
        remote_port: Port::new(50_000),
        local_addr: sample::addr("fd00::1:4"),
        local_port: Port::new(80),
        flags: flag::PASSIVE,
        pod: 4,
        cookie: 78,
        opened_ns: 99_985_000_000,
        ..SockState::default()
    };
    let closing = TcpFigures {
        bytes_received: 1,
        state: state::CLOSE_WAIT,
        ..TcpFigures::default()
    };
    [
        LiveFlow {
            sock: out,
            tcp,
            ..LiveFlow::default()
        },
        LiveFlow {
            sock: accepted,
            tcp: closing,
            ..LiveFlow::default()
        },
    ]
}

fn shown(scope: &Scope, filter: &ConnectionFilter) -> Result<Vec<ConnectionRow>, Failure> {
    let held = sample::held();
    let mut rows = rows(&held, &flows(), NOW);
    rows.extend(udp::rows(&held, &datagrams(), &Tables, NOW));
    Ok(Wanted::parse(scope, filter)?.rows(&held, rows))
}

fn cookies(rows: &[ConnectionRow]) -> Vec<u64> {
    rows.iter().map(|row| row.cookie.unwrap_or(0)).collect()
}

/// The tables that name the ends of datagrams.
struct Tables;

impl udp::Ends for Tables {
    fn workload(&self, addr: Addr) -> u32 {
        sample::held().workloads.get(&addr).map_or(0, |value| value.id())
    }

    fn netns(&self, workload: u32) -> u64 {
        if workload == 1 { 4_026 } else { 0 }
    }

    fn service(&self, netns: u64, _: Addr, port: Port) -> u32 {
        if (netns, port) == (4_026, Port::new(5_353)) {
            9
        } else {
            0
        }
    }
}

/// `shop/client` asks a name server, and once did; a pod without a name is asked.
fn datagrams() -> [(UdpKey, UdpTraffic); 3] {
    let key = |local: &str, local_port, remote: &str, remote_port| UdpKey {
        local: sample::addr(local),
        remote: sample::addr(remote),
        local_port: Port::new(local_port),
        remote_port: Port::new(remote_port),
        ifindex: 7,
    };
    let traffic = |sent, received, last_ns| UdpTraffic {
        sent_datagrams: sent,
        sent_bytes: sent * 40,
        received_datagrams: received,
        received_bytes: received * 400,
        first_ns: 39_000_000_000,
        last_ns,
    };
    [
        (
            key("10.0.1.1", 40_000, "10.0.1.2", 5_353),
            traffic(3, 2, 99_000_000_000),
        ),
        (
            key("10.0.1.1", 40_001, "10.0.1.2", 5_353),
            traffic(1, 1, 39_500_000_000),
        ),
        (
            key("10.0.1.4", 53, "192.0.2.1", 50_000),
            traffic(0, 1, 99_000_000_000),
        ),
    ]
}

fn all() -> Vec<ConnectionRow> {
    shown(&Scope::default(), &ConnectionFilter::default()).unwrap()
}

fn filtered(namespace: Option<&str>, pod: Option<&str>, service: Option<&str>) -> Result<Vec<u64>, Failure> {
    let scope = Scope::new(namespace.map(Into::into));
    let filter = ConnectionFilter {
        selector: None,
        pod: pod.map(Into::into),
        service: service.map(Into::into),
    };
    Ok(cookies(&shown(&scope, &filter)?))
}

#[test]
fn the_table() {
    assert_eq!(
        output::list(&all(), Format::Table).unwrap(),
        "\
POD           DIR   PROTOCOL        LOCAL            REMOTE                PEER         SERVICE    STATE           SENT   RECEIVED    AGE   COOKIE
id:4          in    UDP (packets)   10.0.1.4:53      192.0.2.1:50000       -            -          -                 0B       400B   1m1s        -
id:4          in    TCP             [fd00::1:4]:80   [2001:db8::7]:50000   -            -          CLOSE-WAIT        0B         0B   15ms       78
shop/client   out   TCP             10.0.1.1:40000   10.0.1.2:8080         shop/web-0   shop/web   ESTABLISHED   2.0KiB        10B   1m5s       77
shop/client   out   UDP (packets)   10.0.1.1:40000   10.0.1.2:5353         shop/web-0   id:9       -               120B       800B   1m1s        -
"
    );
}

#[test]
fn the_wide_table_adds_what_tcp_knows() {
    let wide = output::list(&all(), Format::Wide).unwrap();
    let mut lines = wide.lines().rev();
    let (udp, tcp) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(
        tcp.ends_with("10.96.0.10:80         1          5         4   0.250ms         1   -"),
        "{wide}"
    );
    assert!(
        udp.ends_with("-                     -          3         2         -         -   -"),
        "{wide}"
    );
}

#[test]
fn filters_narrow_the_list() {
    // The datagrams have no socket, and so no cookie.
    assert_eq!(filtered(None, None, None).unwrap(), [0, 78, 77, 0]);
    assert_eq!(filtered(Some("shop"), None, None).unwrap(), [77, 0]);
    assert_eq!(filtered(None, Some("id:4"), None).unwrap(), [0, 78]);
    assert_eq!(filtered(None, None, Some("id:9")).unwrap(), [0]);
    assert_eq!(
        filtered(None, Some("shop/client"), Some("shop/db")).unwrap(),
        [0; 0]
    );
    assert_eq!(filtered(Some("shop"), None, Some("web")).unwrap(), [77]);
    assert_eq!(filtered(None, Some("client"), None).unwrap_err().exit(), 2);
}

#[test]
fn a_selector_looks_at_the_labels_of_the_pod() {
    let selected = |selector: &str| {
        let scope = Scope::default().selecting(Some(selector.parse().unwrap()));
        cookies(&shown(&scope, &ConnectionFilter::default()).unwrap())
    };
    assert_eq!(
        selected("!app"),
        [77, 0],
        "the labels of the other pod are not known"
    );
    assert_eq!(selected("app"), [0; 0]);
}

#[test]
fn a_udp_flow_is_told_by_its_packets() {
    let row = all().pop().unwrap();
    assert_eq!(Item::name(&row), "10.0.1.1:40000-10.0.1.2:5353");
    assert_eq!(
        output::one(&row, Format::Json).unwrap(),
        r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "Connection",
  "protocol": "UDP",
  "observedBy": "packets",
  "pod": {
    "namespace": "shop",
    "name": "client",
    "id": 1
  },
  "direction": "out",
  "local": "10.0.1.1:40000",
  "remote": "10.0.1.2:5353",
  "peer": {
    "namespace": "shop",
    "name": "web-0",
    "id": 2
  },
  "service": {
    "id": 9
  },
  "bytesSent": 120,
  "bytesReceived": 800,
  "datagramsSent": 3,
  "datagramsReceived": 2,
  "ageMillis": 61000,
  "netnsCookie": 4026
}
"#
    );
}

#[test]
fn one_connection() {
    assert_eq!(
        output::one(&all()[2], Format::Table).unwrap(),
        "\
Cookie:        77
Pod:           shop/client
Direction:     out
Local:         10.0.1.1:40000
Remote:        10.0.1.2:8080
Peer:          shop/web-0
Asked:         10.96.0.10:80
Service:       shop/web
Backend:       1
Protocol:      TCP
State:         ESTABLISHED
Sent:          2048 bytes in 5 segments
Received:      10 bytes in 4 segments
Round trip:    0.250ms
Retransmits:   1
Age:           1m5s
Netns cookie:  4026
"
    );
    assert_eq!(
        output::one(&all()[1], Format::Json).unwrap(),
        r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "Connection",
  "cookie": 78,
  "protocol": "TCP",
  "observedBy": "socket",
  "pod": {
    "id": 4
  },
  "direction": "in",
  "local": "[fd00::1:4]:80",
  "remote": "[2001:db8::7]:50000",
  "bytesSent": 0,
  "bytesReceived": 0,
  "state": "CLOSE-WAIT",
  "segmentsSent": 0,
  "segmentsReceived": 0,
  "rttMicros": 0,
  "retransmits": 0,
  "ageMillis": 15,
  "netnsCookie": 0
}
"#
    );
}

use mesh_common::{addr::Port, flow::TcpFigures, sock::SockState};

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
        LiveFlow { sock: out, tcp },
        LiveFlow {
            sock: accepted,
            tcp: closing,
        },
    ]
}

fn all() -> Vec<ConnectionRow> {
    rows(&sample::held(), &flows(), NOW)
}

fn filtered(namespace: Option<&str>, pod: Option<&str>, service: Option<&str>) -> Result<Vec<u64>, Failure> {
    let scope = Scope::new(namespace.map(Into::into));
    let filter = ConnectionFilter {
        pod: pod.map(Into::into),
        service: service.map(Into::into),
    };
    let wanted = Wanted::parse(&scope, &filter)?;
    Ok(wanted.rows(&all()).iter().map(|row| row.cookie).collect())
}

#[test]
fn the_table() {
    assert_eq!(
        output::list(&all(), Format::Table).unwrap(),
        "\
POD           DIR   LOCAL            REMOTE                PEER         SERVICE    STATE           SENT   RECEIVED    AGE   COOKIE
id:4          in    [fd00::1:4]:80   [2001:db8::7]:50000   -            -          CLOSE-WAIT        0B         0B   15ms       78
shop/client   out   10.0.1.1:40000   10.0.1.2:8080         shop/web-0   shop/web   ESTABLISHED   2.0KiB        10B   1m5s       77
"
    );
}

#[test]
fn the_wide_table_adds_what_tcp_knows() {
    let wide = output::list(&all(), Format::Wide).unwrap();
    let last = wide.lines().last().unwrap();
    assert!(
        last.ends_with("10.96.0.10:80         1          5         4   0.250ms         1"),
        "{wide}"
    );
}

#[test]
fn filters_narrow_the_list() {
    assert_eq!(filtered(None, None, None).unwrap(), [78, 77]);
    assert_eq!(filtered(Some("shop"), None, None).unwrap(), [77]);
    assert_eq!(filtered(None, Some("id:4"), None).unwrap(), [78]);
    assert_eq!(
        filtered(None, Some("shop/client"), Some("shop/db")).unwrap(),
        [0; 0]
    );
    assert_eq!(filtered(Some("shop"), None, Some("web")).unwrap(), [77]);
    assert_eq!(filtered(None, Some("client"), None).unwrap_err().exit(), 2);
}

#[test]
fn one_connection() {
    assert_eq!(
        output::one(&all()[1], Format::Table).unwrap(),
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
        output::one(&all()[0], Format::Json).unwrap(),
        r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "Connection",
  "cookie": 78,
  "pod": {
    "id": 4
  },
  "direction": "in",
  "local": "[fd00::1:4]:80",
  "remote": "[2001:db8::7]:50000",
  "state": "CLOSE-WAIT",
  "bytesSent": 0,
  "bytesReceived": 0,
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

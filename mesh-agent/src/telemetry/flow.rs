//! The record of a flow, as `meshctl flows` shows it.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use mesh_common::{
    addr::{Addr, Port, Protocol, socket_addr},
    decide::tcp::{self, End},
    flow::{EventKind, FlowEvent},
    names::denial as words,
    policy::Hook,
    sock::flag,
};
use serde::{Deserialize, Serialize};

use super::{
    accel::Acceleration,
    denial::{self, Refusal},
    names::Directory,
    udp::UdpEvent,
};

/// What a socket told: [`FlowRecord::observed_by`].
pub const SOCKET: &str = "socket";
/// What packets at the pod's interface told.
pub const PACKETS: &str = "packets";

/// What happened to a flow.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowRecord {
    /// When, as RFC 3339 with milliseconds, UTC.
    pub time: String,
    /// `opened`, `closed` or `refused`; `denied` or `audited` where a network policy refused it, or would have. A UDP flow opens with its first datagram and closes when it is idle.
    pub event: String,
    /// How it ended, or why it was refused; empty for `opened`.
    pub reason: String,
    /// `TCP` or `UDP`; of what a policy refused also `SCTP`, `ICMP`, `ICMPv6`, or the number of another.
    pub protocol: String,
    /// Who told: `socket`, or `packets` at the pod's interface, which do not say what was dialled nor, for sure,
    /// who asked.
    pub observed_by: String,
    /// Whose socket this is: `source` or `destination` (Istio's word for it).
    pub reporter: String,
    /// Who connected.
    pub source: Peer,
    /// Who accepted.
    pub destination: Peer,
    /// What was dialled, where it is not the destination's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialled: Option<SocketAddr>,
    /// The service that was dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// Bytes the reporter's application sent: over TCP those that the peer acknowledged.
    pub bytes_sent: u64,
    /// Bytes received: over TCP those in order.
    pub bytes_received: u64,
    /// Segments sent.
    pub segments_sent: u32,
    /// Segments received.
    pub segments_received: u32,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Segments sent again.
    pub retransmits: u32,
    /// Smoothed round-trip time in microseconds; 0 where none was measured.
    pub rtt_micros: u32,
    /// From the wish to connect to now, in microseconds; of a UDP flow, from its first datagram to its last.
    pub duration_micros: u64,
    /// What a network policy had to do with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Refusal>,
    /// By which path its messages went, where its pod asks for acceleration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceleration: Option<Acceleration>,
    /// Cookie of the socket; 0 where no socket told.
    pub cookie: u64,
}

/// One end.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Peer {
    /// Namespace of the pod; empty where it is none.
    pub namespace: String,
    /// Name of the pod; empty where it is none.
    pub pod: String,
    /// Address and port; the port may be 0 where none was chosen yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// How the name was learned: `cookie` (the kernel vouches for the socket's namespace), `cgroup` (it vouches for that
    /// of the process, whose pod was pending), `interface` (it vouches for where the packets passed) or `address`.
    pub attested_by: String,
}

/// A service port.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Port.
    pub port: u16,
}

/// Makes a record of an event; `None` for an event or protocol this version does not know. `time` is when it happened.
#[must_use]
pub fn record(event: &FlowEvent, time: String, names: &Directory) -> Option<FlowRecord> {
    let sock = &event.sock;
    let kind = EventKind::from_number(event.kind)?;
    let policy = Refusal::of(kind, &event.denial, names);
    let protocol = protocol(event.protocol, policy.is_some())?;
    let (name, reason) = match kind {
        EventKind::Opened => ("opened", ""),
        EventKind::Closed => ("closed", End::of(&event.tcp).name()),
        EventKind::NoEndpoint => ("refused", "no_endpoint"),
        EventKind::Inconsistent => ("refused", "inconsistent"),
        EventKind::Pending => ("refused", "pending"),
        EventKind::Denied => (words::DENIED, denial::reason(&event.denial)),
        EventKind::Audited => (words::AUDITED, denial::reason(&event.denial)),
    };
    let pending = sock.flags & flag::PENDING != 0;
    // Whose listener it is, the address told.
    let at_listener = event.denial.hook == Hook::Listener as u8;
    let by = match (pending, at_listener) {
        (true, _) => "cgroup",
        (false, true) => "address",
        (false, false) => "cookie",
    };
    let ours = peer(names, sock.pod, sock.local_addr, sock.local_port, by);
    let theirs = peer(names, sock.peer, sock.remote_addr, sock.remote_port, "address");
    let accepted = sock.flags & flag::PASSIVE != 0;
    let (source, destination) = if accepted { (theirs, ours) } else { (ours, theirs) };
    let asked = known(sock.asked_addr, sock.asked_port);
    let service = service(names, sock.service);
    Some(FlowRecord {
        time,
        event: name.to_owned(),
        reason: reason.to_owned(),
        protocol: protocol.into_owned(),
        observed_by: observer(policy.as_ref()).to_owned(),
        reporter: if accepted { "destination" } else { "source" }.to_owned(),
        dialled: asked.filter(|asked| Some(*asked) != destination.address),
        source,
        destination,
        service,
        bytes_sent: tcp::bytes_sent(sock, &event.tcp),
        bytes_received: tcp::bytes_received(sock, &event.tcp, event.received),
        segments_sent: event.tcp.segs_out,
        segments_received: event.tcp.segs_in,
        datagrams_sent: 0,
        datagrams_received: 0,
        retransmits: event.tcp.retransmits,
        rtt_micros: event.tcp.srtt_us8 / 8,
        duration_micros: between(sock.opened_ns, event.at_ns),
        policy,
        acceleration: Acceleration::of(&sock.accel, event.received),
        cookie: sock.cookie,
    })
}

/// Makes a record of what packets told. `time` is when it happened.
#[must_use]
pub fn udp_record(event: &UdpEvent, time: String, names: &Directory) -> FlowRecord {
    let UdpEvent {
        over,
        key,
        parties,
        traffic,
        ..
    } = event;
    let ours = peer(names, parties.pod, key.local, key.local_port, "interface");
    let theirs = peer(names, parties.peer, key.remote, key.remote_port, "address");
    let (reporter, source, destination) = if parties.client {
        ("source", ours, theirs)
    } else {
        ("destination", theirs, ours)
    };
    let (event, reason) = if *over { ("closed", "idle") } else { ("opened", "") };
    FlowRecord {
        time,
        event: event.to_owned(),
        reason: reason.to_owned(),
        protocol: Protocol::Udp.name().to_owned(),
        observed_by: PACKETS.to_owned(),
        reporter: reporter.to_owned(),
        source,
        destination,
        dialled: None,
        service: service(names, parties.service),
        bytes_sent: traffic.sent_bytes,
        bytes_received: traffic.received_bytes,
        segments_sent: 0,
        segments_received: 0,
        datagrams_sent: traffic.sent_datagrams,
        datagrams_received: traffic.received_datagrams,
        retransmits: 0,
        rtt_micros: 0,
        duration_micros: between(traffic.first_ns, traffic.last_ns),
        policy: None,
        acceleration: None,
        cookie: 0,
    }
}

/// The name of a protocol. Sockets know two; packets that a policy refused may be of any.
fn protocol(number: u32, refused: bool) -> Option<Cow<'static, str>> {
    match Protocol::from_number(number) {
        Some(protocol) => Some(protocol.name().into()),
        None => refused.then(|| denial::protocol(number)),
    }
}

/// Who told: a packet that was refused was seen by nobody else.
fn observer(policy: Option<&Refusal>) -> &'static str {
    match policy {
        Some(refusal) if refusal.hook == words::PACKET => PACKETS,
        _ => SOCKET,
    }
}

fn service(names: &Directory, id: u32) -> Option<ServiceRef> {
    let service = names.services.get(&id)?;
    Some(ServiceRef {
        namespace: service.name.namespace.to_string(),
        name: service.name.name.to_string(),
        port: service.port,
    })
}

/// Microseconds from one time to another; 0 where the first is not known.
fn between(from_ns: u64, to_ns: u64) -> u64 {
    if from_ns == 0 {
        return 0;
    }
    u64::try_from(Duration::from_nanos(to_ns.saturating_sub(from_ns)).as_micros()).unwrap_or(u64::MAX)
}

fn peer(names: &Directory, workload: u32, addr: Addr, port: Port, attested_by: &str) -> Peer {
    let pod = names.pods.get(&workload);
    Peer {
        namespace: pod.map(|pod| pod.workload.namespace.clone()).unwrap_or_default(),
        pod: pod.map(|pod| pod.name.to_string()).unwrap_or_default(),
        address: known(addr, port),
        attested_by: if pod.is_some() {
            attested_by.to_owned()
        } else {
            String::new()
        },
    }
}

/// An address, unless nothing was noted.
fn known(addr: Addr, port: Port) -> Option<SocketAddr> {
    (addr != Addr::default()).then(|| socket_addr(addr, port))
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use mesh_common::{
        decide::tcp::state,
        flow::TcpFigures,
        packet::{UdpKey, UdpTraffic},
        policy::{Denial, Direction, Hook},
        sock::SockState,
    };

    use super::*;
    use crate::{
        model::desired::ObjectName,
        telemetry::{
            names::{Pod, Service, Workload},
            udp::Parties,
        },
    };

    fn names() -> Directory {
        let pod = |name: &str| Pod {
            name: name.into(),
            workload: Arc::new(Workload {
                namespace: "shop".into(),
                ..Workload::default()
            }),
        };
        Directory {
            pods: [(1, pod("client")), (2, pod("web-1"))].into(),
            services: [(
                7,
                Service {
                    name: Arc::new(ObjectName::new("shop", "web")),
                    port: 80,
                },
            )]
            .into(),
            ..Directory::default()
        }
    }

    fn closed(flags: u32) -> FlowEvent {
        FlowEvent {
            kind: EventKind::Closed as u32,
            protocol: 6,
            at_ns: 3_000_000,
            sock: SockState {
                asked_addr: Ipv4Addr::new(10, 96, 0, 1).into(),
                asked_port: Port::new(80),
                remote_addr: Ipv4Addr::new(10, 0, 0, 2).into(),
                remote_port: Port::new(8080),
                local_addr: Ipv4Addr::new(10, 0, 0, 1).into(),
                local_port: Port::new(40_000),
                service: 7,
                pod: 1,
                peer: 2,
                flags,
                opened_ns: 1_000_000,
                ..SockState::default()
            },
            tcp: TcpFigures {
                state: state::FIN_WAIT2,
                bytes_acked: 102,
                srtt_us8: 80,
                ..TcpFigures::default()
            },
            received: mesh_common::accel::Moved::default(),
            denial: Denial::default(),
        }
    }

    #[test]
    fn the_client_side_names_service_and_backend() {
        let record = record(&closed(flag::ACTIVE), "t".into(), &names()).unwrap();
        assert_eq!(
            (
                record.reporter.as_str(),
                record.event.as_str(),
                record.reason.as_str()
            ),
            ("source", "closed", "closed")
        );
        assert_eq!(
            (record.source.pod.as_str(), record.destination.pod.as_str()),
            ("client", "web-1")
        );
        assert_eq!(record.dialled, Some("10.96.0.1:80".parse().unwrap()));
        assert_eq!(record.service.unwrap().name, "web");
        assert_eq!(
            (record.bytes_sent, record.rtt_micros, record.duration_micros),
            (100, 10, 2_000)
        );
    }

    #[test]
    fn the_server_side_is_the_destination() {
        let record = record(&closed(flag::PASSIVE), "t".into(), &names()).unwrap();
        assert_eq!(record.reporter, "destination");
        assert_eq!(
            (
                record.source.attested_by.as_str(),
                record.destination.attested_by.as_str()
            ),
            ("address", "cookie")
        );
    }

    #[test]
    fn at_a_listener_the_address_tells_whose_it_is() {
        let mut denied = closed(flag::PASSIVE);
        denied.kind = EventKind::Denied as u32;
        denied.denial.hook = Hook::Listener as u8;
        let record = record(&denied, "t".into(), &names()).unwrap();
        assert_eq!(
            (record.event.as_str(), record.reporter.as_str()),
            ("denied", "destination")
        );
        assert_eq!(record.destination.attested_by, "address");
    }

    #[test]
    fn a_denial_is_told_with_the_policies_that_isolate_the_pod() {
        let names = Directory {
            policy_sets: [(5, vec!["shop/deny".to_owned()])].into(),
            ..names()
        };
        let denied = |kind: EventKind, protocol, hook: Hook| {
            let event = FlowEvent {
                kind: kind as u32,
                protocol,
                sock: SockState {
                    opened_ns: 0,
                    local_addr: Addr::default(),
                    local_port: Port::new(0),
                    service: 0,
                    ..closed(0).sock
                },
                tcp: TcpFigures::default(),
                denial: Denial {
                    set: 5,
                    direction: Direction::Egress as u8,
                    hook: hook as u8,
                    ..Denial::default()
                },
                ..closed(0)
            };
            record(&event, "t".into(), &names).unwrap()
        };
        assert_eq!(
            serde_json::to_string(&denied(EventKind::Denied, 6, Hook::Socket)).unwrap(),
            "{\"time\":\"t\",\"event\":\"denied\",\"reason\":\"policy\",\"protocol\":\"TCP\",\"observedBy\":\"socket\",\
             \"reporter\":\"source\",\
             \"source\":{\"namespace\":\"shop\",\"pod\":\"client\",\"attestedBy\":\"cookie\"},\
             \"destination\":{\"namespace\":\"shop\",\"pod\":\"web-1\",\"address\":\"10.0.0.2:8080\",\"attestedBy\":\"address\"},\
             \"dialled\":\"10.96.0.1:80\",\"bytesSent\":0,\"bytesReceived\":0,\
             \"segmentsSent\":0,\"segmentsReceived\":0,\"datagramsSent\":0,\"datagramsReceived\":0,\"retransmits\":0,\
             \"rttMicros\":0,\"durationMicros\":0,\
             \"policy\":{\"direction\":\"egress\",\"end\":\"source\",\"hook\":\"socket\",\"policies\":[\"shop/deny\"],\"set\":5},\
             \"cookie\":0}"
        );
        let audited = denied(EventKind::Audited, 1, Hook::Packet);
        assert_eq!(
            [&*audited.event, &*audited.protocol, &*audited.observed_by],
            ["audited", "ICMP", "packets"]
        );
    }

    #[test]
    fn a_udp_flow_is_told_by_its_packets() {
        let event = |over, client| UdpEvent {
            over,
            at_ns: 9,
            key: UdpKey {
                local: Ipv4Addr::new(10, 0, 0, 1).into(),
                remote: Ipv4Addr::new(10, 0, 0, 2).into(),
                local_port: Port::new(40_000),
                remote_port: Port::new(5_353),
                ifindex: 4,
            },
            parties: Parties {
                pod: 1,
                peer: 2,
                service: if client { 7 } else { 0 },
                client,
            },
            traffic: UdpTraffic {
                sent_datagrams: 3,
                sent_bytes: 120,
                received_datagrams: 2,
                received_bytes: 800,
                first_ns: 1_000_000,
                last_ns: 3_000_000,
            },
        };
        let closed = udp_record(&event(true, true), "t".into(), &names());
        assert_eq!(
            serde_json::to_string(&closed).unwrap(),
            "{\"time\":\"t\",\"event\":\"closed\",\"reason\":\"idle\",\"protocol\":\"UDP\",\"observedBy\":\"packets\",\
             \"reporter\":\"source\",\
             \"source\":{\"namespace\":\"shop\",\"pod\":\"client\",\"address\":\"10.0.0.1:40000\",\"attestedBy\":\"interface\"},\
             \"destination\":{\"namespace\":\"shop\",\"pod\":\"web-1\",\"address\":\"10.0.0.2:5353\",\"attestedBy\":\"address\"},\
             \"service\":{\"namespace\":\"shop\",\"name\":\"web\",\"port\":80},\"bytesSent\":120,\"bytesReceived\":800,\
             \"segmentsSent\":0,\"segmentsReceived\":0,\"datagramsSent\":3,\"datagramsReceived\":2,\"retransmits\":0,\
             \"rttMicros\":0,\"durationMicros\":2000,\"cookie\":0}"
        );
        let opened = udp_record(&event(false, false), "t".into(), &names());
        assert_eq!((opened.event.as_str(), opened.reason.as_str()), ("opened", ""));
        assert_eq!(
            (opened.reporter.as_str(), opened.destination.pod.as_str()),
            ("destination", "client")
        );
        assert_eq!(opened.service, None);
    }

    #[test]
    fn an_unknown_kind_is_no_record() {
        let event = FlowEvent {
            kind: 99,
            ..closed(0)
        };
        assert_eq!(record(&event, String::new(), &names()), None);
    }
}

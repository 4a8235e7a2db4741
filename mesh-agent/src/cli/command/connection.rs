//! `connection`: TCP connections and UDP flows of this node's pods that live now.

mod udp;

use std::time::Duration;

use mesh_common::{
    addr::{Protocol, socket_addr},
    decide::tcp::{bytes_received, bytes_sent, state},
    flow::LiveFlow,
    sock::flag,
};
use serde::Serialize;

use crate::{
    cli::{
        args::{Format, verb::ConnectionFilter},
        failure::Failure,
        held::{Held, Named},
        node::Node,
        output::{self, Detail, Item, number, or_dash, table, text, unit},
        scope::{Reference, Scope},
    },
    sys::clock,
    telemetry::{accel::Acceleration, flow::SOCKET},
};

/// A live connection, seen from the pod whose socket it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionRow {
    /// Cookie of the socket; a UDP flow is not told by its socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<u64>,
    protocol: &'static str,
    /// Who told of it: `socket`, or `packets` at the pod's interface.
    observed_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Named>,
    /// `out` where the pod connected, `in` where it accepted.
    direction: &'static str,
    local: String,
    remote: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Named>,
    /// What the application dialled, where that is not the remote end.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<u32>,
    bytes_sent: u64,
    bytes_received: u64,
    #[serde(flatten)]
    tcp: Option<TcpPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datagrams_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datagrams_received: Option<u64>,
    /// By which path its messages go, where its pod asks for acceleration.
    #[serde(skip_serializing_if = "Option::is_none")]
    acceleration: Option<Acceleration>,
    age_millis: u64,
    netns_cookie: u64,
}

/// What only TCP knows.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TcpPart {
    state: String,
    segments_sent: u32,
    segments_received: u32,
    rtt_micros: u32,
    retransmits: u32,
}

impl Item for ConnectionRow {
    const KIND: &'static str = "Connection";
    const NOUN: &'static str = "connection";
    const COLUMNS: &'static [table::Column] = &[
        text("POD"),
        text("DIR"),
        text("PROTOCOL"),
        text("LOCAL"),
        text("REMOTE"),
        text("PEER"),
        text("SERVICE"),
        text("STATE"),
        number("SENT"),
        number("RECEIVED"),
        number("AGE"),
        number("COOKIE"),
    ];
    const WIDE: &'static [table::Column] = &[
        text("ASKED"),
        number("BACKEND"),
        number("SEGS-OUT"),
        number("SEGS-IN"),
        number("RTT"),
        number("RETRANS"),
        text("ACCEL"),
    ];

    fn name(&self) -> String {
        let unnamed = || format!("{}-{}", self.local, self.remote);
        self.cookie.map_or_else(unnamed, |cookie| cookie.to_string())
    }

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(self.pod.as_ref()),
            self.direction.to_owned(),
            self.protocol(),
            self.local.clone(),
            self.remote.clone(),
            or_dash(self.peer.as_ref()),
            or_dash(self.service.as_ref()),
            or_dash(self.tcp.as_ref().map(|tcp| &tcp.state)),
            unit::bytes(self.bytes_sent),
            unit::bytes(self.bytes_received),
            unit::age(Duration::from_millis(self.age_millis)),
            or_dash(self.cookie),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            or_dash(self.asked.as_ref()),
            or_dash(self.backend),
            or_dash(self.packets().map(|(sent, _)| sent)),
            or_dash(self.packets().map(|(_, received)| received)),
            or_dash(self.tcp.as_ref().map(|tcp| unit::micros(tcp.rtt_micros.into()))),
            or_dash(self.tcp.as_ref().map(|tcp| tcp.retransmits)),
            or_dash(self.acceleration.as_ref().map(|accel| &accel.state)),
        ]
    }
}

impl Detail for ConnectionRow {
    const KIND: &'static str = "Connection";

    fn name(&self) -> Option<String> {
        Some(format!("connection/{}", Item::name(self)))
    }

    fn text(&self) -> String {
        let tcp = self.tcp.as_ref();
        let (sent, received) = self.packets().unwrap_or_default();
        let mut facts = vec![
            ("Cookie", or_dash(self.cookie)),
            ("Pod", or_dash(self.pod.as_ref())),
            ("Direction", self.direction.to_owned()),
            ("Local", self.local.clone()),
            ("Remote", self.remote.clone()),
            ("Peer", or_dash(self.peer.as_ref())),
            ("Asked", or_dash(self.asked.as_ref())),
            ("Service", or_dash(self.service.as_ref())),
            ("Backend", or_dash(self.backend)),
            ("Protocol", self.protocol()),
            ("State", or_dash(tcp.map(|tcp| &tcp.state))),
            ("Sent", format!("{} bytes in {sent} segments", self.bytes_sent)),
            (
                "Received",
                format!("{} bytes in {received} segments", self.bytes_received),
            ),
            (
                "Round trip",
                or_dash(tcp.map(|tcp| unit::micros(tcp.rtt_micros.into()))),
            ),
            ("Retransmits", or_dash(tcp.map(|tcp| tcp.retransmits))),
            ("Age", unit::age(Duration::from_millis(self.age_millis))),
            ("Netns cookie", self.netns_cookie.to_string()),
        ];
        if let Some(accel) = &self.acceleration {
            let moved = |messages: u64, bytes: u64| format!("{messages} messages, {bytes} bytes");
            let redirected = [
                moved(accel.redirected_messages_sent, accel.redirected_bytes_sent),
                moved(
                    accel.redirected_messages_received,
                    accel.redirected_bytes_received,
                ),
            ];
            facts.push(("Acceleration", accel.text()));
            facts.push(("Redirected", redirected.join(" sent; ") + " received"));
            facts.push((
                "Left to TCP",
                moved(accel.tcp_messages_sent, accel.tcp_bytes_sent),
            ));
        }
        table::facts(&facts)
    }
}

impl ConnectionRow {
    /// The protocol, and where that is not the socket, who told of the flow.
    fn protocol(&self) -> String {
        match self.observed_by {
            SOCKET => self.protocol.to_owned(),
            other => format!("{} ({other})", self.protocol),
        }
    }

    /// Segments or datagrams, sent and received.
    fn packets(&self) -> Option<(u64, u64)> {
        let tcp = self.tcp.as_ref();
        tcp.map(|tcp| (tcp.segments_sent.into(), tcp.segments_received.into()))
            .or(self.datagrams_sent.zip(self.datagrams_received))
    }
}

/// `connection list`.
pub fn list(
    node: &Node,
    scope: &Scope,
    filter: &ConnectionFilter,
    format: Format,
) -> Result<String, Failure> {
    let wanted = Wanted::parse(scope, filter)?;
    let (flows, now) = (node.flows()?, clock::monotonic());
    let held = Held::named(node.names());
    scope.check(&held.names)?;
    let mut rows = rows(&held, &flows, now);
    rows.extend(udp::read(node, &held, now)?);
    output::list(&wanted.rows(&held, rows), format)
}

/// `connection show`.
pub fn show(node: &Node, cookie: u64, format: Format) -> Result<String, Failure> {
    let held = Held::named(node.names());
    let rows = rows(&held, &node.flows()?, clock::monotonic());
    let row = rows.into_iter().find(|row| row.cookie == Some(cookie));
    output::one(
        &row.ok_or_else(|| Failure::missing("connection", cookie))?,
        format,
    )
}

/// Which connections are asked for.
struct Wanted<'a> {
    scope: &'a Scope,
    pod: Option<Reference>,
    service: Option<Reference>,
}

impl<'a> Wanted<'a> {
    fn parse(scope: &'a Scope, filter: &ConnectionFilter) -> Result<Self, Failure> {
        let read =
            |kind, text: &Option<String>| text.as_ref().map(|text| scope.reference(kind, text)).transpose();
        Ok(Self {
            scope,
            pod: read("pod", &filter.pod)?,
            service: read("service", &filter.service)?,
        })
    }

    /// The oldest of each pod first.
    fn rows(&self, held: &Held, mut rows: Vec<ConnectionRow>) -> Vec<ConnectionRow> {
        rows.retain(|row| self.has(held, row));
        rows.sort_by(|a, b| {
            let age = b.age_millis.cmp(&a.age_millis);
            let end = || (a.cookie, &a.local, &a.remote).cmp(&(b.cookie, &b.local, &b.remote));
            a.pod.cmp(&b.pod).then(age).then_with(end)
        });
        rows
    }

    fn has(&self, held: &Held, row: &ConnectionRow) -> bool {
        let labels = row.pod.as_ref().and_then(|pod| held.pod_labels(pod.id));
        self.scope.has_known(row.pod.as_ref())
            && self.scope.selects(labels.as_ref())
            && self
                .pod
                .as_ref()
                .is_none_or(|pod| pod.means_known(row.pod.as_ref()))
            && self
                .service
                .as_ref()
                .is_none_or(|service| service.means_known(row.service.as_ref()))
    }
}

fn rows(held: &Held, flows: &[LiveFlow], now: Duration) -> Vec<ConnectionRow> {
    flows.iter().map(|flow| row(held, flow, now)).collect()
}

fn row(held: &Held, LiveFlow { sock, tcp, received }: &LiveFlow, now: Duration) -> ConnectionRow {
    let remote = socket_addr(sock.remote_addr, sock.remote_port);
    let asked = socket_addr(sock.asked_addr, sock.asked_port);
    let passive = sock.flags & flag::PASSIVE != 0;
    let age = now.saturating_sub(Duration::from_nanos(sock.opened_ns));
    ConnectionRow {
        cookie: Some(sock.cookie),
        protocol: Protocol::Tcp.name(),
        observed_by: SOCKET,
        pod: held.pod(sock.pod),
        direction: if passive { "in" } else { "out" },
        local: socket_addr(sock.local_addr, sock.local_port).to_string(),
        remote: remote.to_string(),
        peer: held.pod(sock.peer),
        asked: (!passive && asked != remote).then(|| asked.to_string()),
        service: held.service(sock.service),
        backend: Some(sock.backend).filter(|&id| id != 0),
        tcp: Some(TcpPart {
            state: state_name(tcp.state),
            segments_sent: tcp.segs_out,
            segments_received: tcp.segs_in,
            rtt_micros: tcp.srtt_us8 / 8,
            retransmits: tcp.retransmits,
        }),
        bytes_sent: bytes_sent(sock, tcp),
        bytes_received: bytes_received(sock, tcp, *received),
        datagrams_sent: None,
        datagrams_received: None,
        acceleration: Acceleration::of(&sock.accel, *received),
        age_millis: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        netns_cookie: sock.netns,
    }
}

/// As `ss` and RFC 9293 name them.
fn state_name(number: u32) -> String {
    let name = match number {
        state::ESTABLISHED => "ESTABLISHED",
        state::SYN_SENT => "SYN-SENT",
        state::SYN_RECV => "SYN-RECEIVED",
        state::FIN_WAIT1 => "FIN-WAIT-1",
        state::FIN_WAIT2 => "FIN-WAIT-2",
        state::TIME_WAIT => "TIME-WAIT",
        state::CLOSE => "CLOSED",
        state::CLOSE_WAIT => "CLOSE-WAIT",
        state::LAST_ACK => "LAST-ACK",
        state::CLOSING => "CLOSING",
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;

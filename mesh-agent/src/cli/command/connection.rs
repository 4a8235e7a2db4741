//! `connection`: TCP connections of this node's pods that live now.

use std::time::Duration;

use mesh_common::{
    addr::socket_addr,
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
};

/// A live connection, seen from the pod whose socket it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionRow {
    /// Cookie of the socket.
    cookie: u64,
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
    state: String,
    bytes_sent: u64,
    bytes_received: u64,
    segments_sent: u32,
    segments_received: u32,
    rtt_micros: u32,
    retransmits: u32,
    age_millis: u64,
    netns_cookie: u64,
}

impl Item for ConnectionRow {
    const KIND: &'static str = "Connection";
    const NOUN: &'static str = "connection";
    const COLUMNS: &'static [table::Column] = &[
        text("POD"),
        text("DIR"),
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
    ];

    fn name(&self) -> String {
        self.cookie.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(self.pod.as_ref()),
            self.direction.to_owned(),
            self.local.clone(),
            self.remote.clone(),
            or_dash(self.peer.as_ref()),
            or_dash(self.service.as_ref()),
            self.state.clone(),
            unit::bytes(self.bytes_sent),
            unit::bytes(self.bytes_received),
            unit::age(Duration::from_millis(self.age_millis)),
            self.cookie.to_string(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            or_dash(self.asked.as_ref()),
            or_dash(self.backend),
            self.segments_sent.to_string(),
            self.segments_received.to_string(),
            unit::micros(self.rtt_micros.into()),
            self.retransmits.to_string(),
        ]
    }
}

impl Detail for ConnectionRow {
    const KIND: &'static str = "Connection";

    fn name(&self) -> Option<String> {
        Some(format!("connection/{}", self.cookie))
    }

    fn text(&self) -> String {
        table::facts(&[
            ("Cookie", self.cookie.to_string()),
            ("Pod", or_dash(self.pod.as_ref())),
            ("Direction", self.direction.to_owned()),
            ("Local", self.local.clone()),
            ("Remote", self.remote.clone()),
            ("Peer", or_dash(self.peer.as_ref())),
            ("Asked", or_dash(self.asked.as_ref())),
            ("Service", or_dash(self.service.as_ref())),
            ("Backend", or_dash(self.backend)),
            ("State", self.state.clone()),
            (
                "Sent",
                format!("{} bytes in {} segments", self.bytes_sent, self.segments_sent),
            ),
            (
                "Received",
                format!(
                    "{} bytes in {} segments",
                    self.bytes_received, self.segments_received
                ),
            ),
            ("Round trip", unit::micros(self.rtt_micros.into())),
            ("Retransmits", self.retransmits.to_string()),
            ("Age", unit::age(Duration::from_millis(self.age_millis))),
            ("Netns cookie", self.netns_cookie.to_string()),
        ])
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
    output::list(&wanted.rows(&read(node)?), format)
}

/// `connection show`.
pub fn show(node: &Node, cookie: u64, format: Format) -> Result<String, Failure> {
    let row = read(node)?.into_iter().find(|row| row.cookie == cookie);
    output::one(
        &row.ok_or_else(|| Failure::missing("connection", cookie))?,
        format,
    )
}

fn read(node: &Node) -> Result<Vec<ConnectionRow>, Failure> {
    let flows = node.flows()?;
    let held = Held::named(node.names());
    Ok(rows(&held, &flows, clock::monotonic()))
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

    fn rows(&self, rows: &[ConnectionRow]) -> Vec<ConnectionRow> {
        let wanted = |row: &&ConnectionRow| {
            self.scope.has_known(row.pod.as_ref())
                && self
                    .pod
                    .as_ref()
                    .is_none_or(|pod| pod.means_known(row.pod.as_ref()))
                && self
                    .service
                    .as_ref()
                    .is_none_or(|service| service.means_known(row.service.as_ref()))
        };
        rows.iter().filter(wanted).cloned().collect()
    }
}

/// The oldest of each pod first.
fn rows(held: &Held, flows: &[LiveFlow], now: Duration) -> Vec<ConnectionRow> {
    let mut rows: Vec<ConnectionRow> = flows.iter().map(|flow| row(held, flow, now)).collect();
    rows.sort_by(|a, b| {
        let age = b.age_millis.cmp(&a.age_millis);
        a.pod.cmp(&b.pod).then(age).then(a.cookie.cmp(&b.cookie))
    });
    rows
}

fn row(held: &Held, LiveFlow { sock, tcp }: &LiveFlow, now: Duration) -> ConnectionRow {
    let remote = socket_addr(sock.remote_addr, sock.remote_port);
    let asked = socket_addr(sock.asked_addr, sock.asked_port);
    let passive = sock.flags & flag::PASSIVE != 0;
    let age = now.saturating_sub(Duration::from_nanos(sock.opened_ns));
    ConnectionRow {
        cookie: sock.cookie,
        pod: held.pod(sock.pod),
        direction: if passive { "in" } else { "out" },
        local: socket_addr(sock.local_addr, sock.local_port).to_string(),
        remote: remote.to_string(),
        peer: held.pod(sock.peer),
        asked: (!passive && asked != remote).then(|| asked.to_string()),
        service: held.service(sock.service),
        backend: Some(sock.backend).filter(|&id| id != 0),
        state: state_name(tcp.state),
        bytes_sent: bytes_sent(sock, tcp),
        bytes_received: bytes_received(sock, tcp),
        segments_sent: tcp.segs_out,
        segments_received: tcp.segs_in,
        rtt_micros: tcp.srtt_us8 / 8,
        retransmits: tcp.retransmits,
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

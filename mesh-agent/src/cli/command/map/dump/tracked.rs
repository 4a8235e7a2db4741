//! What the programs remember of flows that policies judged, and of enrolled sockets, in words.

use std::time::Duration;

use mesh_common::{
    abi::map,
    accel::{SocketKey, Splice},
    addr::socket_addr,
    conntrack::{EVENTS_STRETCH_NS, FLOWS_STRETCH_NS, FragmentKey, Quotas, TrackKey, Tracked, flag},
    inbound::{Inbound, Stamp},
    policy::Direction,
    tag::Tagged,
};

use super::{Entry, entries, fields, policy::owner, shown};
use crate::{
    cli::{command::map::fields::Fields, held::Held, output::unit},
    datapath::{pins::Pins, tables::TableError},
    telemetry::denial,
};

/// The entries of a map, or `None` for one of another kind.
pub fn read(pins: &Pins, held: &Held, now: Duration, name: &str) -> Option<Result<Vec<Entry>, TableError>> {
    let inbound = |name| entries(pins, name).map(|all| shown(all, |k, v| handshake(held, now, k, v)));
    Some(match name {
        map::CT_ANY => entries(pins, map::CT_ANY).map(|all| shown(all, |k, v| datagrams(held, now, k, v))),
        map::CT_TCP => entries(pins, map::CT_TCP).map(|all| shown(all, |k, v| connection(held, k, v))),
        map::FRAGMENTS => entries(pins, map::FRAGMENTS).map(|all| shown(all, |k, v| pieces(held, now, k, v))),
        map::QUOTAS => entries(pins, map::QUOTAS).map(|all| shown(all, |k, v| quotas(held, now, k, v))),
        map::HOST_FLOWS => inbound(map::HOST_FLOWS),
        map::REFUSED => inbound(map::REFUSED),
        map::SPLICES => entries(pins, map::SPLICES).map(|all| shown(all, |k, v| splice(held, k, v))),
        _ => return None,
    })
}

pub fn datagrams(held: &Held, now: Duration, key: TrackKey, value: Tracked) -> (Fields, Fields) {
    let age = since(now, Duration::from_nanos(value.last_ns));
    let facts = judged(fields().text("idle", age), value.judged);
    (flow(held, key), facts)
}

pub fn connection(held: &Held, key: TrackKey, value: Tagged) -> (Fields, Fields) {
    let has = |bit| value.flags() & bit != 0;
    let facts = judged(fields(), value)
        .flag("refused", has(flag::REFUSED))
        .flag("finByPod", has(flag::FIN_BY_POD));
    (flow(held, key), facts.flag("finByPeer", has(flag::FIN_BY_PEER)))
}

fn flow(held: &Held, key: TrackKey) -> Fields {
    owner(held, key.pod)
        .text("protocol", denial::protocol(key.protocol.into()))
        .number("localPort", key.local_port.get())
        .text("remote", socket_addr(key.remote, key.remote_port))
}

/// Who opened a flow, and what was said of it.
fn judged(facts: Fields, value: Tagged) -> Fields {
    let has = |bit| value.flags() & bit != 0;
    facts
        .text("openedBy", if has(flag::BY_PEER) { "peer" } else { "pod" })
        .flag("host", has(flag::HOST))
        .flag("audited", has(flag::AUDITED))
        .number("policyGeneration", value.id())
}

pub fn pieces(held: &Held, now: Duration, key: FragmentKey, first_ns: u64) -> (Fields, Fields) {
    let shown = owner(held, key.pod)
        .maybe(
            "direction",
            Direction::from_number(key.direction).map(Direction::name),
        )
        .text("source", key.source)
        .text("destination", key.destination);
    let age = since(now, Duration::from_nanos(first_ns));
    (
        shown.text("packet", format!("{:08x}", key.id)),
        fields().text("age", age),
    )
}

/// What counts now; what was used in a stretch of time that is over does not.
pub fn quotas(held: &Held, now: Duration, workload: u32, value: Quotas) -> (Fields, Fields) {
    let now_ns = nanos(now);
    let facts = fields()
        .number(
            "flowsThisMinute",
            Quotas::used(value.flows, now_ns, FLOWS_STRETCH_NS),
        )
        .number(
            "askedThisMinute",
            Quotas::used(value.asked, now_ns, FLOWS_STRETCH_NS),
        )
        .number(
            "eventsThisSecond",
            Quotas::used(value.events, now_ns, EVENTS_STRETCH_NS),
        );
    (owner(held, workload), facts)
}

pub fn handshake(held: &Held, now: Duration, key: Inbound, value: Stamp) -> (Fields, Fields) {
    let shown = fields()
        .text("local", socket_addr(key.local, key.local_port))
        .text("remote", socket_addr(key.remote, key.remote_port));
    let age = Duration::from_millis(value.age_ms(nanos(now)));
    let facts = fields().maybe("pod", held.pod_at(key.local));
    (shown, facts.text("age", unit::age(age)))
}

/// Without where the kernel keeps the socket, which is nobody's business.
pub fn splice(held: &Held, key: SocketKey, value: Splice) -> (Fields, Fields) {
    let shown = owner(held, key.pod)
        .text("local", socket_addr(key.local, key.local_port))
        .text("remote", socket_addr(key.remote, key.remote_port));
    let facts = fields()
        .number("socket", value.cookie)
        .flag("own", value.own != 0)
        .number("receivedMessages", value.received.messages);
    (shown, facts.number("receivedBytes", value.received.bytes))
}

fn since(now: Duration, then: Duration) -> String {
    unit::age(now.saturating_sub(then))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

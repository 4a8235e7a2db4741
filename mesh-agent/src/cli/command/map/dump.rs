//! `map dump`: entries in words.

mod policy;
mod tracked;

use std::time::Duration;

use mesh_common::{
    abi::{MapSpec, map},
    addr::{Addr, Protocol, socket_addr},
    config::{self, Config},
    counter::Counter,
    flow::{Traffic, TrafficKey},
    packet::{PacketCount, PacketTotals, UdpKey, UdpServiceKey, UdpTraffic},
    service::{Affinity, AffinityKey, Backend, Frontend, Member, ServiceInfo, Slot},
    sock::{UdpFlow, UdpFlowKey, UdpPeer, UdpPeerKey},
    tag::Tagged,
    workload::{PodRef, flag},
};
use serde::Serialize;

use super::fields::Fields;
use crate::{
    cli::{
        args::Format,
        command::service::algorithm,
        failure::Failure,
        held::Held,
        node::Node,
        output::{self, Item, table, text},
    },
    datapath::{
        pins::Pins,
        readings::Readings,
        tables::{TableError, elements, entries},
    },
    sys::{clock, raw::Data},
};

/// An entry of a map.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Entry {
    key: Fields,
    value: Fields,
}

impl Item for Entry {
    const KIND: &'static str = "MapEntry";
    const NOUN: &'static str = "entry";
    const COLUMNS: &'static [table::Column] = &[text("KEY"), text("VALUE")];

    fn name(&self) -> String {
        self.key.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![self.key.to_string(), self.value.to_string()]
    }
}

/// Writes the entries of a map.
pub fn dump(node: &Node, spec: &MapSpec, format: Format) -> Result<String, Failure> {
    if let Some(elsewhere) = elsewhere(spec.name) {
        return Err(Failure::failed(format!("map {} {elsewhere}", spec.name)));
    }
    let held = node.held()?;
    let entries = read(&node.pins, &held, clock::monotonic(), spec.name);
    let entries = entries
        .ok_or_else(|| Failure::failed(format!("map {} has no words for its entries", spec.name)))?
        .map_err(|error| node.unreadable(&error))?;
    output::list(&entries, format)
}

/// What to say of a map whose entries can't be read one by one.
fn elsewhere(name: &str) -> Option<&'static str> {
    match name {
        map::SOCK_STATE | map::OWN_SOCKETS | map::SOCKETS | map::MESH_SOCKETS => {
            Some("is storage of sockets: see `connection list`")
        }
        map::EVENTS => Some("is a ring buffer, which only the agent can read without a loss"),
        _ => None,
    }
}

/// The entries of a map, or `None` for one that is not known here.
fn read(pins: &Pins, held: &Held, now: Duration, name: &str) -> Option<Result<Vec<Entry>, TableError>> {
    Some(match name {
        map::PODS => entries(pins, map::PODS).map(|all| shown(all, |k, v| pod(held, k, v))),
        map::PENDING_PODS => {
            entries(pins, map::PENDING_PODS).map(|all| shown(all, |k, v| pending(held, k, v)))
        }
        map::WORKLOADS => entries(pins, map::WORKLOADS).map(|all| shown(all, |k, v| workload(held, k, v))),
        map::SERVICES => entries(pins, map::SERVICES).map(|all| shown(all, |k, v| frontend(held, k, v))),
        map::SERVICE_INFO => {
            elements(pins, map::SERVICE_INFO).map(|all| used(all, |k, v| service(held, k, v)))
        }
        map::LB_TABLE => elements(pins, map::LB_TABLE).map(|all| used(all, |k, v| slot(held, k, v))),
        map::BACKENDS => elements(pins, map::BACKENDS).map(|all| used(all, |k, v| backend(held, k, v))),
        map::MEMBERS => entries(pins, map::MEMBERS).map(|all| shown(all, |k, v| member(held, k, v))),
        map::CONFIG => elements(pins, map::CONFIG).map(|all| used(all, configuration)),
        map::AFFINITY => entries(pins, map::AFFINITY).map(|all| shown(all, |k, v| affinity(held, k, v))),
        map::UDP_FLOWS => entries(pins, map::UDP_FLOWS).map(|all| shown(all, |k, v| udp_flow(held, k, v))),
        map::UDP_PEERS => entries(pins, map::UDP_PEERS).map(|all| shown(all, |k, v| udp_peer(held, k, v))),
        map::UDP_SERVICES => {
            entries(pins, map::UDP_SERVICES).map(|all| shown(all, |k, v| udp_service(held, k, v)))
        }
        map::TRAFFIC => totals(pins, Readings::traffic).map(|all| shown(all, |k, v| traffic(held, k, v))),
        map::PACKETS => totals(pins, Readings::packets).map(|all| shown(all, packets)),
        map::UDP_TRAFFIC => totals(pins, Readings::udp).map(|all| shown(all, |k, v| udp_traffic(held, k, v))),
        map::COUNTERS => totals(pins, Readings::counters).map(|all| counters(&all)),
        _ => return policy::read(pins, held, name).or_else(|| tracked::read(pins, held, now, name)),
    })
}

/// What the programs count, as sums of all CPUs.
fn totals<T>(pins: &Pins, which: impl FnOnce(&Readings) -> Result<T, TableError>) -> Result<T, TableError> {
    which(&Readings::open(pins)?)
}

/// Those that are not zero.
fn counters(all: &[(Counter, &'static str, u64)]) -> Vec<Entry> {
    let counted = all.iter().filter(|(_, _, count)| *count > 0);
    let entry = |(_, name, count): &(Counter, &'static str, u64)| Entry {
        key: fields().text("counter", name),
        value: fields().number("count", *count),
    };
    counted.map(entry).collect()
}

/// In the order of the keys as they are shown. A hash map that changes while it is read may tell an entry
/// twice.
fn shown<K, V>(all: Vec<(K, V)>, decode: impl Fn(K, V) -> (Fields, Fields)) -> Vec<Entry> {
    let entry = |(key, value)| {
        let (key, value) = decode(key, value);
        Entry { key, value }
    };
    let mut entries: Vec<(String, Entry)> = all
        .into_iter()
        .map(entry)
        .map(|entry| (entry.key.to_string(), entry))
        .collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries.dedup_by(|(a, _), (b, _)| a == b);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// Elements of an array that are not all zero.
fn used<V: Data>(all: Vec<(u32, V)>, decode: impl Fn(u32, V) -> (Fields, Fields)) -> Vec<Entry> {
    let used = all
        .into_iter()
        .filter(|(_, value)| value.as_bytes().iter().any(|&byte| byte != 0));
    used.map(|(index, value)| decode(index, value))
        .map(|(key, value)| Entry { key, value })
        .collect()
}

fn fields() -> Fields {
    Fields::default()
}

fn pod(held: &Held, netns: u64, value: PodRef) -> (Fields, Fields) {
    let facts = known(held, value).number("enteredMs", value.entered_ms);
    (fields().number("netns", netns), facts)
}

fn pending(held: &Held, cgroup: u64, value: PodRef) -> (Fields, Fields) {
    let closed = value.workload.flags() & flag::CLOSED != 0;
    let facts = known(held, value).flag("closed", closed);
    (fields().number("cgroup", cgroup), facts)
}

/// What a pod is known by, in both tables.
fn known(held: &Held, value: PodRef) -> Fields {
    let id = value.workload.id();
    fields()
        .maybe("pod", held.pod(id))
        .number("id", id)
        .text("seed", format!("{:08x}", value.seed))
}

fn workload(held: &Held, addr: Addr, value: Tagged) -> (Fields, Fields) {
    let has = |bit| value.flags() & bit != 0;
    let facts = fields()
        .maybe("pod", held.pod(value.id()))
        .number("id", value.id());
    let facts = facts
        .flag("local", has(flag::LOCAL))
        .flag("enrolled", has(flag::ENROLLED));
    (fields().text("address", addr), facts)
}

fn frontend(held: &Held, key: Frontend, value: Tagged) -> (Fields, Fields) {
    let protocol = Protocol::from_number(key.protocol.into()).map(Protocol::name);
    let shown = fields()
        .text("frontend", socket_addr(key.addr, key.port))
        .maybe("protocol", protocol);
    (
        shown,
        fields()
            .maybe("service", held.service(value.id()))
            .number("id", value.id()),
    )
}

fn service(held: &Held, id: u32, info: ServiceInfo) -> (Fields, Fields) {
    let facts = fields()
        .maybe("service", held.service(id))
        .number("offset", info.region.offset());
    let facts = facts
        .number("slots", info.region.len())
        .text("algorithm", algorithm(info.region.algorithm()));
    (
        fields().number("id", id),
        facts.number("affinitySeconds", info.affinity_seconds),
    )
}

fn slot(held: &Held, index: u32, slot: Slot) -> (Fields, Fields) {
    let facts = fields()
        .number("backend", slot.backend)
        .maybe("address", held.backend_address(slot.backend));
    (
        fields().number("slot", index),
        facts.maybe("service", held.service(slot.service)),
    )
}

fn backend(held: &Held, id: u32, backend: Backend) -> (Fields, Fields) {
    let facts = fields().text("address", socket_addr(backend.addr, backend.port));
    (
        fields().number("id", id),
        facts.maybe("pod", held.pod(backend.workload)),
    )
}

fn member(held: &Held, key: Member, _: u32) -> (Fields, Fields) {
    let shown = fields()
        .maybe("service", held.service(key.service))
        .number("backend", key.backend);
    (
        shown,
        fields().maybe("address", held.backend_address(key.backend)),
    )
}

fn configuration(index: u32, value: Config) -> (Fields, Fields) {
    let has = |bit| value.flags & bit != 0;
    let facts = fields()
        .number("abi", value.abi)
        .flag("disabled", has(config::flag::DISABLED));
    let facts = facts
        .flag("watched", has(config::flag::WATCHED))
        .flag("pending", !value.pending.is_none())
        .flag("policed", has(config::flag::POLICED))
        .flag("denyWithEperm", has(config::flag::DENY_WITH_EPERM));
    let facts = facts
        .number("policyGeneration", value.policy)
        .number("generation", value.generation)
        .number("writtenNs", value.written_ns);
    (fields().number("index", index), facts)
}

fn affinity(held: &Held, key: AffinityKey, value: Affinity) -> (Fields, Fields) {
    let shown = fields()
        .number("netns", key.netns)
        .maybe("pod", held.pod_in(key.netns));
    let facts = fields()
        .number("backend", value.backend)
        .maybe("address", held.backend_address(value.backend));
    (
        shown.maybe("service", held.service(key.service)),
        facts.number("lastNs", value.last_ns),
    )
}

fn udp_flow(held: &Held, key: UdpFlowKey, value: UdpFlow) -> (Fields, Fields) {
    let shown = fields()
        .number("socket", key.socket)
        .maybe("service", held.service(key.service));
    (
        shown,
        fields()
            .number("backend", value.backend)
            .maybe("address", held.backend_address(value.backend)),
    )
}

fn udp_peer(held: &Held, key: UdpPeerKey, value: UdpPeer) -> (Fields, Fields) {
    let shown = fields()
        .number("socket", key.socket)
        .text("peer", socket_addr(key.addr, key.port));
    let facts = fields().text("asked", socket_addr(value.addr, value.port));
    (shown, facts.maybe("service", held.service(value.service)))
}

fn udp_service(held: &Held, key: UdpServiceKey, service: u32) -> (Fields, Fields) {
    let shown = fields()
        .number("netns", key.netns)
        .maybe("pod", held.pod_in(key.netns));
    (
        shown.text("peer", socket_addr(key.addr, key.port)),
        fields().maybe("service", held.service(service)),
    )
}

fn traffic(held: &Held, key: TrafficKey, value: Traffic) -> (Fields, Fields) {
    let facts = fields()
        .number("opened", value.opened)
        .number("closed", value.closed);
    let facts = facts
        .number("failed", value.failed)
        .number("bytesSent", value.bytes_sent);
    let shown = fields()
        .maybe("pod", held.pod(key.pod))
        .maybe("service", held.service(key.service));
    (shown, facts.number("bytesReceived", value.bytes_received))
}

fn packets(ifindex: u32, value: PacketTotals) -> (Fields, Fields) {
    let add = |shown: Fields, names: [&'static str; 4], count: PacketCount| {
        let shown = shown
            .number(names[0], count.sent_packets)
            .number(names[1], count.sent_bytes);
        shown
            .number(names[2], count.received_packets)
            .number(names[3], count.received_bytes)
    };
    let facts = add(
        fields(),
        [
            "tcpSentPackets",
            "tcpSentBytes",
            "tcpReceivedPackets",
            "tcpReceivedBytes",
        ],
        value.tcp,
    );
    let facts = add(
        facts,
        [
            "udpSentPackets",
            "udpSentBytes",
            "udpReceivedPackets",
            "udpReceivedBytes",
        ],
        value.udp,
    );
    let others = [
        "otherSentPackets",
        "otherSentBytes",
        "otherReceivedPackets",
        "otherReceivedBytes",
    ];
    (
        fields().number("ifindex", ifindex),
        add(facts, others, value.other),
    )
}

fn udp_traffic(held: &Held, key: UdpKey, value: UdpTraffic) -> (Fields, Fields) {
    let shown = fields()
        .number("ifindex", key.ifindex)
        .text("local", socket_addr(key.local, key.local_port));
    let shown = shown.text("remote", socket_addr(key.remote, key.remote_port));
    let facts = fields()
        .maybe("pod", held.pod_at(key.local))
        .number("sentDatagrams", value.sent_datagrams);
    let facts = facts
        .number("sentBytes", value.sent_bytes)
        .number("receivedDatagrams", value.received_datagrams);
    (shown, facts.number("receivedBytes", value.received_bytes))
}

#[cfg(test)]
mod tests;

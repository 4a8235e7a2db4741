//! Metrics in OpenMetrics text. Names and labels are Istio's where Istio has them, so that its dashboards
//! work; `mesh_*` otherwise.

use mesh_common::{
    packet::{PacketTotals, UdpTraffic},
    sock::{SockState, flag},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    accounting::Growth,
    names::{Directory, Pod},
    udp::Parties,
};

/// What Istio writes for a label whose value is not known.
const UNKNOWN: &str = "unknown";

/// Labels of the TCP metrics (Istio standard metrics).
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TcpLabels {
    reporter: &'static str,
    source_workload: String,
    source_workload_namespace: String,
    source_principal: &'static str,
    source_app: String,
    source_version: String,
    source_canonical_service: String,
    destination_workload: String,
    destination_workload_namespace: String,
    destination_principal: &'static str,
    destination_app: String,
    destination_version: String,
    destination_canonical_service: String,
    destination_service: String,
    destination_service_name: String,
    destination_service_namespace: String,
    request_protocol: &'static str,
    response_flags: &'static str,
    connection_security_policy: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct MapLabels {
    map: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct VerdictLabels {
    verdict: &'static str,
    reason: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PacketLabels {
    namespace: String,
    pod: String,
    protocol: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UdpLabels {
    namespace: String,
    pod: String,
    peer_namespace: String,
    peer_pod: String,
    service: String,
    service_namespace: String,
    direction: &'static str,
}

/// All metrics of the agent.
pub struct Metrics {
    registry: Registry,
    opened: Family<TcpLabels, Counter>,
    closed: Family<TcpLabels, Counter>,
    failed: Family<TcpLabels, Counter>,
    sent: Family<TcpLabels, Counter>,
    received: Family<TcpLabels, Counter>,
    verdicts: Family<VerdictLabels, Counter>,
    map_entries: Family<MapLabels, Gauge>,
    map_capacity: Family<MapLabels, Gauge>,
    events_lost: Counter,
    packets: Family<PacketLabels, Counter>,
    packet_bytes: Family<PacketLabels, Counter>,
    datagrams: Family<UdpLabels, Counter>,
    datagram_bytes: Family<UdpLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            opened: Family::default(),
            closed: Family::default(),
            failed: Family::default(),
            sent: Family::default(),
            received: Family::default(),
            verdicts: Family::default(),
            map_entries: Family::default(),
            map_capacity: Family::default(),
            events_lost: Counter::default(),
            packets: Family::default(),
            packet_bytes: Family::default(),
            datagrams: Family::default(),
            datagram_bytes: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "istio_tcp_connections_opened",
            "TCP connections established",
            metrics.opened.clone(),
        );
        registry.register(
            "istio_tcp_connections_closed",
            "TCP connections that ended",
            metrics.closed.clone(),
        );
        registry.register(
            "mesh_tcp_connections_failed",
            "TCP connections that were never established",
            metrics.failed.clone(),
        );
        registry.register(
            "istio_tcp_sent_bytes",
            "Bytes the source received from the destination",
            metrics.sent.clone(),
        );
        registry.register(
            "istio_tcp_received_bytes",
            "Bytes the destination received from the source",
            metrics.received.clone(),
        );
        registry.register(
            "mesh_verdicts",
            "Decisions of the kernel programs",
            metrics.verdicts.clone(),
        );
        registry.register(
            "mesh_map_entries",
            "Entries in a kernel table",
            metrics.map_entries.clone(),
        );
        registry.register(
            "mesh_map_capacity",
            "Entries a kernel table can have",
            metrics.map_capacity.clone(),
        );
        registry.register(
            "mesh_events_lost",
            "Flow records that found the ring buffer full",
            metrics.events_lost.clone(),
        );
        registry.register(
            "mesh_packets",
            "Packets at a pod's interface",
            metrics.packets.clone(),
        );
        registry.register(
            "mesh_packet_bytes",
            "Bytes of the packets at a pod's interface, with all headers",
            metrics.packet_bytes.clone(),
        );
        registry.register(
            "mesh_udp_datagrams",
            "UDP datagrams of a pod",
            metrics.datagrams.clone(),
        );
        registry.register(
            "mesh_udp_bytes",
            "Payload bytes of a pod's UDP datagrams",
            metrics.datagram_bytes.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// Adds what a connection grew by. Istio counts bytes from the destination's point of view: `received` is
    /// what came from the source, `sent` what went back to it.
    pub fn grown(&self, sock: &SockState, growth: Growth, names: &Directory) {
        let labels = labels(sock, names);
        if growth.first {
            self.opened.get_or_create(&labels).inc();
        }
        let (towards, back) = if accepted(sock) {
            (growth.received, growth.sent)
        } else {
            (growth.sent, growth.received)
        };
        self.received.get_or_create(&labels).inc_by(towards);
        self.sent.get_or_create(&labels).inc_by(back);
    }

    /// Counts a connection that ended.
    pub fn closed(&self, sock: &SockState, names: &Directory) {
        self.closed.get_or_create(&labels(sock, names)).inc();
    }

    /// Counts a connection that was asked for and never established.
    pub fn failed(&self, sock: &SockState, names: &Directory) {
        self.failed.get_or_create(&labels(sock, names)).inc();
    }

    /// Sets the node-wide counters to what the kernel has counted.
    pub fn kernel(&self, counters: &[(&'static str, u64)]) {
        for &(name, value) in counters {
            let verdict = |verdict, reason, direction| {
                let counter = self.verdicts.get_or_create(&VerdictLabels {
                    verdict,
                    reason,
                    direction,
                });
                raise(&counter, value);
            };
            match name {
                "translated" => verdict("translated", "connect", "egress"),
                "datagram_translated" => verdict("translated", "datagram", "egress"),
                "no_endpoint" => verdict("refused", "no_endpoint", "egress"),
                "datagram_no_endpoint" => verdict("refused", "datagram_no_endpoint", "egress"),
                "inconsistent" => verdict("refused", "inconsistent", "egress"),
                "events_lost" => raise(&self.events_lost, value),
                _ => {}
            }
        }
    }

    /// Sets the packets of a pod to what the kernel has counted.
    pub fn packets(&self, pod: u32, totals: &PacketTotals, names: &Directory) {
        let pod = Named::of(pod, names);
        for (protocol, count) in [("tcp", totals.tcp), ("udp", totals.udp), ("other", totals.other)] {
            let directions = [
                ("sent", count.sent_packets, count.sent_bytes),
                ("received", count.received_packets, count.received_bytes),
            ];
            for (direction, packets, bytes) in directions {
                let labels = PacketLabels {
                    namespace: pod.namespace.clone(),
                    pod: pod.pod.clone(),
                    protocol,
                    direction,
                };
                raise(&self.packets.get_or_create(&labels), packets);
                raise(&self.packet_bytes.get_or_create(&labels), bytes);
            }
        }
    }

    /// Adds what a UDP flow grew by.
    pub fn udp(&self, parties: Parties, growth: UdpTraffic, names: &Directory) {
        let (pod, peer) = (Named::of(parties.pod, names), Named::of(parties.peer, names));
        let service = names.services.get(&parties.service);
        let directions = [
            ("sent", growth.sent_datagrams, growth.sent_bytes),
            ("received", growth.received_datagrams, growth.received_bytes),
        ];
        for (direction, datagrams, bytes) in directions {
            let labels = UdpLabels {
                namespace: pod.namespace.clone(),
                pod: pod.pod.clone(),
                peer_namespace: peer.namespace.clone(),
                peer_pod: peer.pod.clone(),
                service: service.map_or_else(|| UNKNOWN.to_owned(), |service| service.name.clone()),
                service_namespace: service
                    .map_or_else(|| UNKNOWN.to_owned(), |service| service.namespace.clone()),
                direction,
            };
            self.datagrams.get_or_create(&labels).inc_by(datagrams);
            self.datagram_bytes.get_or_create(&labels).inc_by(bytes);
        }
    }

    /// Sets how full a kernel table is.
    pub fn map(&self, map: &'static str, entries: u32, capacity: u32) {
        self.map_entries
            .get_or_create(&MapLabels { map })
            .set(entries.into());
        self.map_capacity
            .get_or_create(&MapLabels { map })
            .set(capacity.into());
    }

    /// The text of all metrics.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a String does not fail; a broken label would be ours to mend.
            tracing::error!(%error, "the metrics can't be written");
        }
        text
    }
}

/// Raises a counter to a value that the kernel keeps; it never falls.
fn raise(counter: &Counter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

fn accepted(sock: &SockState) -> bool {
    sock.flags & flag::PASSIVE != 0
}

fn labels(sock: &SockState, names: &Directory) -> TcpLabels {
    let (ours, theirs) = (Named::of(sock.pod, names), Named::of(sock.peer, names));
    let (source, destination) = if accepted(sock) {
        (theirs, ours)
    } else {
        (ours, theirs)
    };
    let service = names.services.get(&sock.service);
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
    TcpLabels {
        reporter: if accepted(sock) { "destination" } else { "source" },
        source_workload: source.workload,
        source_workload_namespace: source.namespace,
        source_principal: UNKNOWN,
        source_app: source.app.clone(),
        source_version: source.version,
        source_canonical_service: source.app,
        destination_workload: destination.workload,
        destination_workload_namespace: destination.namespace,
        destination_principal: UNKNOWN,
        destination_app: destination.app.clone(),
        destination_version: destination.version,
        destination_canonical_service: destination.app,
        destination_service: or_unknown(service.map(super::names::Service::host)),
        destination_service_name: or_unknown(service.map(|service| service.name.clone())),
        destination_service_namespace: or_unknown(service.map(|service| service.namespace.clone())),
        request_protocol: "tcp",
        response_flags: "-",
        connection_security_policy: "none",
    }
}

/// A pod's labels, with `unknown` for what is not known.
struct Named {
    pod: String,
    workload: String,
    namespace: String,
    app: String,
    version: String,
}

impl Named {
    fn of(workload: u32, names: &Directory) -> Self {
        let pod = names.pods.get(&workload);
        let field = |field: fn(&Pod) -> &String| {
            pod.map(field)
                .filter(|text| !text.is_empty())
                .map_or_else(|| UNKNOWN.to_owned(), Clone::clone)
        };
        Self {
            pod: field(|pod| &pod.pod),
            workload: field(|pod| &pod.workload),
            namespace: field(|pod| &pod.namespace),
            app: field(|pod| &pod.app),
            version: field(|pod| &pod.version),
        }
    }
}

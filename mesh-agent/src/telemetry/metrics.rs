//! Metrics in OpenMetrics text. Names and labels are Istio's where Istio has them, so that its dashboards
//! work; `mesh_*` otherwise.

mod labels;
mod policies;
mod series;

use std::{collections::HashSet, time::Duration};

use mesh_common::{counter::Counter as KernelCounter, names::denial, packet::PacketTotals};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use self::{
    labels::{PacketLabels, TcpLabels, UdpLabels},
    policies::PolicyGauges,
    series::Series,
};
use super::{
    names::Directory,
    rise::{self, Readings},
    tally::{self, Tally},
    udp::Parties,
};

pub use self::{policies::PolicyCounts, series::KEEP};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct MapLabels {
    map: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UseLabels {
    sockets: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct VerdictLabels {
    verdict: &'static str,
    reason: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LossLabels {
    reason: &'static str,
}

/// All metrics of the agent.
pub struct Metrics {
    registry: Registry,
    /// Opened, closed, failed, sent, received.
    tcp: Series<TcpLabels, 5>,
    /// Past TCP: messages sent, bytes sent, messages received, bytes received.
    redirected: Series<TcpLabels, 4>,
    /// Packets, bytes.
    packets: Series<PacketLabels, 2>,
    /// Datagrams, bytes.
    datagrams: Series<UdpLabels, 2>,
    verdicts: Family<VerdictLabels, Counter>,
    losses: Family<LossLabels, Counter>,
    events_lost: Counter,
    acceleration: Family<UseLabels, Gauge>,
    policies: PolicyGauges,
    map_entries: Family<MapLabels, Gauge>,
    map_capacity: Family<MapLabels, Gauge>,
    /// By index in [`KernelCounter`].
    kernel: Readings<u32, 1>,
    /// By index of the interface.
    interfaces: Readings<u32, 12>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::beside(Registry::default())
    }
}

impl Metrics {
    /// Adds them to those that are registered already.
    #[must_use]
    pub fn beside(mut registry: Registry) -> Self {
        let tcp = [
            ("istio_tcp_connections_opened", "TCP connections established"),
            ("istio_tcp_connections_closed", "TCP connections that ended"),
            (
                "mesh_tcp_connections_failed",
                "TCP connections that were never established",
            ),
            (
                "istio_tcp_sent_bytes",
                "Bytes the source received from the destination",
            ),
            (
                "istio_tcp_received_bytes",
                "Bytes the destination received from the source",
            ),
        ];
        let redirected = [
            (
                "mesh_redirected_sent_messages",
                "Messages the source received from the destination past TCP",
            ),
            (
                "mesh_redirected_sent_bytes",
                "Bytes the source received from the destination past TCP, part of istio_tcp_sent_bytes",
            ),
            (
                "mesh_redirected_received_messages",
                "Messages the destination received from the source past TCP",
            ),
            (
                "mesh_redirected_received_bytes",
                "Bytes the destination received from the source past TCP, part of istio_tcp_received_bytes",
            ),
        ];
        let packets = [
            ("mesh_packets", "Packets at a pod's interface"),
            (
                "mesh_packet_bytes",
                "Bytes of the packets at a pod's interface, with all headers",
            ),
        ];
        let datagrams = [
            ("mesh_udp_datagrams", "UDP datagrams of a pod"),
            ("mesh_udp_bytes", "Payload bytes of a pod's UDP datagrams"),
        ];
        let mut metrics = Self {
            tcp: Series::register(tcp, &mut registry),
            redirected: Series::register(redirected, &mut registry),
            packets: Series::register(packets, &mut registry),
            datagrams: Series::register(datagrams, &mut registry),
            registry,
            verdicts: Family::default(),
            losses: Family::default(),
            events_lost: Counter::default(),
            acceleration: Family::default(),
            policies: PolicyGauges::default(),
            map_entries: Family::default(),
            map_capacity: Family::default(),
            kernel: Readings::default(),
            interfaces: Readings::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "mesh_verdicts",
            "Decisions of the kernel programs",
            metrics.verdicts.clone(),
        );
        registry.register(
            "mesh_losses",
            "Things the kernel programs found no room to note",
            metrics.losses.clone(),
        );
        registry.register(
            "mesh_events_lost",
            "Flow records that found the ring buffer full",
            metrics.events_lost.clone(),
        );
        registry.register(
            "mesh_acceleration_possible",
            "Whether the start-up probe has passed on this kernel for applications' sockets and the mesh's own",
            metrics.acceleration.clone(),
        );
        metrics.policies.register(registry);
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
        metrics
    }
}

impl Metrics {
    /// Adds what connections did. Istio counts bytes from the destination's point of view: `received` is what
    /// came from the source, `sent` what went back to it.
    pub fn add(&self, tally: Tally, names: &Directory) {
        for (parties, deeds) in tally {
            let labels = tcp_labels(parties, names);
            let (towards, back) = towards_and_back(parties, deeds.sent, deeds.received);
            let values = [deeds.opened, deeds.closed, deeds.failed, back, towards];
            self.tcp.add(labels.clone(), values);
            let (towards, back) = towards_and_back(parties, deeds.redirected_sent, deeds.redirected_received);
            // Only who is accelerated has these series.
            if towards.messages + back.messages > 0 {
                let values = [back.messages, back.bytes, towards.messages, towards.bytes];
                self.redirected.add(labels, values);
            }
        }
    }

    /// Takes what the kernel has counted on this node.
    pub fn kernel(&mut self, counters: &[(KernelCounter, u64)]) {
        for &(counter, value) in counters {
            let [rise] = self.kernel.rise(counter as u32, [value]);
            let ruled = |verdict, reason, direction| {
                let labels = VerdictLabels {
                    verdict,
                    reason,
                    direction,
                };
                self.verdicts.get_or_create(&labels).inc_by(rise);
            };
            let verdict = |verdict, reason| ruled(verdict, reason, "egress");
            let loss = |reason| {
                self.losses.get_or_create(&LossLabels { reason }).inc_by(rise);
            };
            match counter {
                KernelCounter::Translated => verdict("translated", "connect"),
                KernelCounter::DatagramTranslated => verdict("translated", "datagram"),
                KernelCounter::NoEndpoint => verdict("refused", "no_endpoint"),
                KernelCounter::DatagramNoEndpoint => verdict("refused", "datagram_no_endpoint"),
                KernelCounter::Inconsistent => verdict("refused", "inconsistent"),
                KernelCounter::Pending => verdict("refused", "pending"),
                KernelCounter::AllowedEgress => ruled("allowed", denial::POLICY, "egress"),
                KernelCounter::AllowedIngress => ruled("allowed", denial::POLICY, "ingress"),
                KernelCounter::DeniedEgress => ruled(denial::DENIED, denial::POLICY, "egress"),
                KernelCounter::DeniedIngress => ruled(denial::DENIED, denial::POLICY, "ingress"),
                KernelCounter::AuditedEgress => ruled(denial::AUDITED, denial::POLICY, "egress"),
                KernelCounter::AuditedIngress => ruled(denial::AUDITED, denial::POLICY, "ingress"),
                KernelCounter::Spoofed => ruled("denied", "spoofed", "egress"),
                KernelCounter::Stray => ruled("denied", "stray", "ingress"),
                KernelCounter::UnreadableEgress => ruled("denied", "unreadable", "egress"),
                KernelCounter::UnreadableIngress => ruled("denied", "unreadable", "ingress"),
                KernelCounter::UpkeepEgress => ruled("allowed", "icmp", "egress"),
                KernelCounter::UpkeepIngress => ruled("allowed", "icmp", "ingress"),
                KernelCounter::FlowQuota => loss("flow_quota"),
                KernelCounter::EventQuota => loss("event_quota"),
                KernelCounter::EventsLost => drop(self.events_lost.inc_by(rise)),
                KernelCounter::StorageFull => loss("storage_full"),
                KernelCounter::TrafficFull => loss("traffic_full"),
                KernelCounter::UdpTrafficFull => loss("udp_traffic_full"),
                // A race that was answered by reading again: nobody was harmed. `meshctl status` shows it.
                KernelCounter::StaleSlot => {}
            }
        }
    }

    /// Takes what passed the pods' interfaces, by the index of the host end. What passed one whose pod is not
    /// known yet is told once it is; one that is made anew counts on from where the former one was.
    pub fn packets(&mut self, reading: &[(u32, PacketTotals)], names: &Directory) {
        for (ifindex, totals) in reading {
            let Some(interface) = names.interfaces.get(ifindex) else {
                continue;
            };
            let pod = names.pod_name(interface.pod);
            let now = rise::of_packets(totals);
            let rise = self
                .interfaces
                .rise(*ifindex, std::array::from_fn(|index| now[index / 4][index % 4]));
            for (protocol, rise) in ["tcp", "udp", "other"].into_iter().zip(rise.as_chunks().0) {
                for (direction, values) in directions(*rise) {
                    let labels = PacketLabels {
                        pod: pod.clone(),
                        protocol,
                        direction,
                    };
                    self.packets.add(labels, values);
                }
            }
        }
        let present: HashSet<u32> = reading.iter().map(|(ifindex, _)| *ifindex).collect();
        self.interfaces.retain(|ifindex| present.contains(ifindex));
    }

    /// Adds what a UDP flow grew by: datagrams sent, bytes sent, datagrams received, bytes received.
    pub fn udp(&self, parties: Parties, growth: [u64; 4], names: &Directory) {
        for (direction, values) in directions(growth) {
            let service = names.services.get(&parties.service);
            let labels = UdpLabels {
                pod: names.pod_name(parties.pod),
                peer: names.pod_name(parties.peer),
                service: service.map(|service| service.name.clone()),
                direction,
            };
            self.datagrams.add(labels, values);
        }
    }

    /// Drops the series of what has been gone for [`KEEP`].
    pub fn sweep(&self, now: Duration, names: &Directory) {
        let present = names.present();
        self.tcp.sweep(now, |labels| labels.are_there(&present));
        self.redirected.sweep(now, |labels| labels.are_there(&present));
        self.packets.sweep(now, |labels| labels.are_there(&present));
        self.datagrams.sweep(now, |labels| labels.are_there(&present));
    }

    /// Sets whether a kind of sockets may be accelerated.
    pub fn acceleration(&self, sockets: &'static str, possible: bool) {
        let gauge = self.acceleration.get_or_create(&UseLabels { sockets });
        gauge.set(i64::from(possible));
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

    /// How it is with policies.
    pub fn policies(&self, counts: PolicyCounts) {
        self.policies.set(counts);
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

/// Sent and received, each a number of things and their bytes.
fn directions([sent, sent_bytes, received, received_bytes]: [u64; 4]) -> [(&'static str, [u64; 2]); 2] {
    [
        ("sent", [sent, sent_bytes]),
        ("received", [received, received_bytes]),
    ]
}

/// What went to the destination, and what came back from it.
fn towards_and_back<T>(parties: tally::Parties, sent: T, received: T) -> (T, T) {
    if parties.accepted {
        (received, sent)
    } else {
        (sent, received)
    }
}

fn tcp_labels(parties: tally::Parties, names: &Directory) -> TcpLabels {
    let workload = |id| names.pods.get(&id).map(|pod| pod.workload.clone());
    let (ours, theirs) = (workload(parties.pod), workload(parties.peer));
    let (reporter, source, destination) = if parties.accepted {
        ("destination", theirs, ours)
    } else {
        ("source", ours, theirs)
    };
    let service = names.services.get(&parties.service);
    TcpLabels {
        reporter,
        source,
        destination,
        service: service.map(|service| service.name.clone()),
    }
}

#[cfg(test)]
mod tests;

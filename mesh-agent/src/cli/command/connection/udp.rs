//! UDP flows, which no socket tells of: the packets at the pods' interfaces do.

use std::{collections::BTreeMap, time::Duration};

use mesh_common::{
    abi::map,
    addr::{Addr, Port, Protocol, socket_addr},
    packet::{UdpKey, UdpTraffic},
    workload::PodRef,
};

use super::ConnectionRow;
use crate::{
    cli::{failure::Failure, held::Held, node::Node},
    datapath::{peers::Peers, tables},
    telemetry::{flow::PACKETS, udp},
};

/// What else the kernel knows of the ends of a flow.
pub trait Ends {
    /// Workload id of the pod with an address; 0 where it is no pod's.
    fn workload(&self, addr: Addr) -> u32;
    /// Cookie of the network namespace of a pod of this node; 0 where it is not known.
    fn netns(&self, workload: u32) -> u64;
    /// Id of the service that a pod asked a backend for; 0 where it asked for none.
    fn service(&self, netns: u64, addr: Addr, port: Port) -> u32;
}

/// The kernel's tables.
struct Kernel {
    peers: Peers,
    netns: BTreeMap<u32, u64>,
}

impl Ends for Kernel {
    fn workload(&self, addr: Addr) -> u32 {
        self.peers.workload(addr)
    }

    fn netns(&self, workload: u32) -> u64 {
        self.netns.get(&workload).copied().unwrap_or(0)
    }

    fn service(&self, netns: u64, addr: Addr, port: Port) -> u32 {
        self.peers.udp_service(netns, addr, port)
    }
}

/// The flows that are not over.
pub fn read(node: &Node, held: &Held, now: Duration) -> Result<Vec<ConnectionRow>, Failure> {
    let failed = |error| node.unreadable(&error);
    let pods = tables::entries::<u64, PodRef>(&node.pins, map::PODS).map_err(failed)?;
    let kernel = Kernel {
        peers: Peers::open(&node.pins).map_err(failed)?,
        netns: pods
            .into_iter()
            .map(|(netns, pod)| (pod.workload.id(), netns))
            .collect(),
    };
    let flows = node.readings()?.udp().map_err(failed)?;
    Ok(rows(held, &flows, &kernel, now))
}

/// The rows of the flows that are not over.
pub fn rows(
    held: &Held,
    flows: &[(UdpKey, UdpTraffic)],
    ends: &impl Ends,
    now: Duration,
) -> Vec<ConnectionRow> {
    let live = flows.iter().filter(|(_, traffic)| !udp::is_over(traffic, now));
    live.map(|(key, traffic)| row(held, key, traffic, ends, now))
        .collect()
}

fn row(held: &Held, key: &UdpKey, traffic: &UdpTraffic, ends: &impl Ends, now: Duration) -> ConnectionRow {
    let pod = ends.workload(key.local);
    let netns = ends.netns(pod);
    let service = ends.service(netns, key.remote, key.remote_port);
    let asked = udp::asked(key, traffic, service);
    let age = now.saturating_sub(Duration::from_nanos(traffic.first_ns));
    ConnectionRow {
        cookie: None,
        protocol: Protocol::Udp.name(),
        observed_by: PACKETS,
        pod: held.pod(pod),
        direction: if asked { "out" } else { "in" },
        local: socket_addr(key.local, key.local_port).to_string(),
        remote: socket_addr(key.remote, key.remote_port).to_string(),
        peer: held.pod(ends.workload(key.remote)),
        asked: None,
        service: held.service(service),
        backend: None,
        tcp: None,
        bytes_sent: traffic.sent_bytes,
        bytes_received: traffic.received_bytes,
        datagrams_sent: Some(traffic.sent_datagrams),
        datagrams_received: Some(traffic.received_datagrams),
        acceleration: None,
        age_millis: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        netns_cookie: netns,
    }
}

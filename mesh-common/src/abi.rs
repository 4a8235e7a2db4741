//! The version of the kernel tables, the names they are pinned under and their layout.

use crate::{
    accel::{SocketKey, Splice},
    addr::Addr,
    config::Config,
    conntrack::{FragmentKey, Quotas, TrackKey, Tracked},
    counter::Counter,
    flow::{Traffic, TrafficKey},
    inbound::{Inbound, Stamp},
    packet::{self, InterfaceSlot, PacketSlot, UdpKey, UdpServiceKey, UdpTraffic},
    policy::PolicyKey,
    rules::{CidrKey, PodRules, SourceKey},
    service::{Affinity, AffinityKey, Backend, Frontend, Member, ServiceInfo, Slot},
    sock::{SockState, UdpFlow, UdpFlowKey, UdpPeer, UdpPeerKey},
    tag::Tagged,
    workload::PodRef,
};

/// Version of the layout of all maps. The pin directory carries it, so that a changed layout is never
/// misread: raise it with every change to a key, a value or the meaning of a field.
pub const ABI_VERSION: u32 = 1;

/// Names of the maps, at most 15 characters each (`BPF_OBJ_NAME_LEN` less the terminator; the kernel
/// cuts longer ones).
pub mod map {
    /// Network namespace cookie to [`crate::workload::PodRef`]: the pods of this node that are in the mesh.
    pub const PODS: &str = "PODS";
    /// Id of a pod's cgroup to [`crate::workload::PodRef`]: the pods that are bound to this node, in the mesh, and not in
    /// [`PODS`] yet.
    pub const PENDING_PODS: &str = "PENDING_PODS";
    /// Address to [`crate::tag::Tagged`] workload id: every pod of the cluster.
    pub const WORKLOADS: &str = "WORKLOADS";
    /// [`crate::service::Frontend`] to [`crate::tag::Tagged`] service id.
    pub const SERVICES: &str = "SERVICES";
    /// Service id to [`crate::service::ServiceInfo`].
    pub const SERVICE_INFO: &str = "SERVICE_INFO";
    /// Slot number to [`crate::service::Slot`], one region per service.
    pub const LB_TABLE: &str = "LB_TABLE";
    /// Backend id to [`crate::service::Backend`].
    pub const BACKENDS: &str = "BACKENDS";
    /// Set of [`crate::service::Member`]: which backends a service with affinity or UDP has now.
    pub const MEMBERS: &str = "MEMBERS";
    /// [`crate::service::AffinityKey`] to [`crate::service::Affinity`].
    pub const AFFINITY: &str = "AFFINITY";
    /// [`crate::sock::UdpFlowKey`] to [`crate::sock::UdpFlow`]: the backend of an unconnected UDP socket.
    pub const UDP_FLOWS: &str = "UDP_FLOWS";
    /// [`crate::sock::UdpPeerKey`] to [`crate::sock::UdpPeer`]: what a UDP socket had asked for.
    pub const UDP_PEERS: &str = "UDP_PEERS";
    /// Socket storage: [`crate::sock::SockState`].
    pub const SOCK_STATE: &str = "SOCK_STATE";
    /// Per-CPU array of `u64`, indexed by [`crate::counter::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// Per-CPU hash: [`crate::flow::TrafficKey`] to [`crate::flow::Traffic`].
    pub const TRAFFIC: &str = "TRAFFIC";
    /// Per-CPU array of [`crate::packet::PacketSlot`], by [`crate::packet::places`].
    pub const PACKETS: &str = "PACKETS";
    /// Per-CPU hash: [`crate::packet::UdpKey`] to [`crate::packet::UdpTraffic`].
    pub const UDP_TRAFFIC: &str = "UDP_TRAFFIC";
    /// [`crate::packet::UdpServiceKey`] to the id of the service the pod asked that backend for.
    pub const UDP_SERVICES: &str = "UDP_SERVICES";
    /// Ring buffer of [`crate::flow::FlowEvent`].
    pub const EVENTS: &str = "EVENTS";
    /// [`crate::accel::SocketKey`] to socket: what messages are redirected to, of applications.
    pub const SOCKETS: &str = "SOCKETS";
    /// The same, of the mesh itself: never with the stream verdict.
    pub const MESH_SOCKETS: &str = "MESH_SOCKETS";
    /// [`crate::accel::SocketKey`] to [`crate::accel::Splice`]: what senders know of those sockets.
    pub const SPLICES: &str = "SPLICES";
    /// Socket storage of `u32`, not 0 for sockets of the mesh itself; user space marks them, their children inherit it.
    pub const OWN_SOCKETS: &str = "OWN_SOCKETS";
    /// [`crate::policy::PolicyKey`] to [`crate::tag::Tagged`] rule number: the rule sets of this node's pods.
    pub const POLICY: &str = "POLICY";
    /// Address to [`crate::tag::Tagged`] policy class, where that is not what its prefix says: of pods.
    pub const CLASSES: &str = "CLASSES";
    /// [`crate::rules::CidrKey`] to policy class, by the longest prefix.
    pub const CIDRS: &str = "CIDRS";
    /// Workload id to [`crate::rules::PodRules`]: the pods of this node that are in the mesh.
    pub const POD_RULES: &str = "POD_RULES";
    /// [`crate::conntrack::TrackKey`] to [`crate::conntrack::Tracked`]: flows without connections that policies let pass.
    pub const CT_ANY: &str = "CT_ANY";
    /// [`crate::conntrack::TrackKey`] to [`crate::tag::Tagged`] generation: TCP flows that policies let pass, or refused.
    pub const CT_TCP: &str = "CT_TCP";
    /// [`crate::conntrack::FragmentKey`] to when its first piece passed, in nanoseconds of `CLOCK_MONOTONIC`.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Workload id to [`crate::conntrack::Quotas`].
    pub const QUOTAS: &str = "QUOTAS";
    /// Array of [`crate::packet::InterfaceSlot`], by [`crate::packet::places`].
    pub const INTERFACES: &str = "INTERFACES";
    /// Set of [`crate::rules::SourceKey`], by the longest prefix: addresses that pods may use beside their own.
    pub const SOURCES: &str = "SOURCES";
    /// [`crate::inbound::Inbound`] to [`crate::inbound::Stamp`]: the host's own sockets, on their way to pods of this node.
    pub const HOST_FLOWS: &str = "HOST_FLOWS";
    /// [`crate::inbound::Inbound`] to [`crate::inbound::Stamp`]: refused at a pod's listeners a moment ago.
    pub const REFUSED: &str = "REFUSED";
    /// One [`crate::config::Config`].
    pub const CONFIG: &str = "CONFIG";
}

/// What kind of map the kernel makes (`enum bpf_map_type`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_HASH`.
    PerCpuHash = 5,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHash = 9,
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    LpmTrie = 11,
    /// `BPF_MAP_TYPE_SOCKHASH`.
    SockHash = 18,
    /// `BPF_MAP_TYPE_SK_STORAGE`.
    SkStorage = 24,
    /// `BPF_MAP_TYPE_RINGBUF`; its size is in bytes.
    RingBuf = 27,
}

/// The layout of one pinned map.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec {
    /// Name.
    pub name: &'static str,
    /// Kind.
    pub kind: MapKind,
    /// Size of a key in bytes.
    pub key: usize,
    /// Size of a value in bytes.
    pub value: usize,
    /// Default size in entries; 0 where the kernel sets it.
    pub entries: usize,
    /// Whether the programs write it; the agent writes the others.
    pub kernel_writes: bool,
}

impl MapSpec {
    const fn agent<K, V>(name: &'static str, kind: MapKind, entries: usize) -> Self {
        Self {
            name,
            kind,
            key: size_of::<K>(),
            value: size_of::<V>(),
            entries,
            kernel_writes: false,
        }
    }

    const fn kernel<K, V>(name: &'static str, kind: MapKind, entries: usize) -> Self {
        Self {
            name,
            kind,
            key: size_of::<K>(),
            value: size_of::<V>(),
            entries,
            kernel_writes: true,
        }
    }
}

/// Every pinned map.
pub const MAPS: [MapSpec; 35] = [
    MapSpec::agent::<u64, PodRef>(map::PODS, MapKind::Hash, size::PODS),
    MapSpec::agent::<u64, PodRef>(map::PENDING_PODS, MapKind::Hash, size::PENDING_PODS),
    MapSpec::agent::<Addr, Tagged>(map::WORKLOADS, MapKind::Hash, size::WORKLOADS),
    MapSpec::agent::<Frontend, Tagged>(map::SERVICES, MapKind::Hash, size::SERVICES),
    MapSpec::agent::<u32, ServiceInfo>(map::SERVICE_INFO, MapKind::Array, size::SERVICE_INFO),
    MapSpec::agent::<u32, Slot>(map::LB_TABLE, MapKind::Array, size::LB_TABLE),
    MapSpec::agent::<u32, Backend>(map::BACKENDS, MapKind::Array, size::BACKENDS),
    MapSpec::agent::<Member, u32>(map::MEMBERS, MapKind::Hash, size::MEMBERS),
    MapSpec::agent::<u32, Config>(map::CONFIG, MapKind::Array, 1),
    MapSpec::agent::<u32, u32>(map::OWN_SOCKETS, MapKind::SkStorage, 0),
    MapSpec::kernel::<SocketKey, u32>(map::SOCKETS, MapKind::SockHash, size::SOCKETS),
    MapSpec::kernel::<SocketKey, u32>(map::MESH_SOCKETS, MapKind::SockHash, size::SOCKETS),
    MapSpec::kernel::<SocketKey, Splice>(map::SPLICES, MapKind::Hash, size::SOCKETS),
    MapSpec::agent::<PolicyKey, Tagged>(map::POLICY, MapKind::Hash, size::POLICY),
    MapSpec::agent::<Addr, Tagged>(map::CLASSES, MapKind::Hash, size::CLASSES),
    MapSpec::agent::<CidrKey, u32>(map::CIDRS, MapKind::LpmTrie, size::CIDRS),
    MapSpec::agent::<u32, PodRules>(map::POD_RULES, MapKind::Hash, size::POD_RULES),
    MapSpec::agent::<u32, InterfaceSlot>(map::INTERFACES, MapKind::Array, size::PACKETS),
    MapSpec::agent::<SourceKey, u32>(map::SOURCES, MapKind::LpmTrie, size::SOURCES),
    MapSpec::kernel::<AffinityKey, Affinity>(map::AFFINITY, MapKind::LruHash, size::AFFINITY),
    MapSpec::kernel::<UdpFlowKey, UdpFlow>(map::UDP_FLOWS, MapKind::LruHash, size::UDP_FLOWS),
    MapSpec::kernel::<UdpPeerKey, UdpPeer>(map::UDP_PEERS, MapKind::LruHash, size::UDP_PEERS),
    MapSpec::kernel::<TrackKey, Tracked>(map::CT_ANY, MapKind::LruHash, size::CT_ANY),
    MapSpec::kernel::<TrackKey, Tagged>(map::CT_TCP, MapKind::LruHash, size::CT_TCP),
    MapSpec::kernel::<FragmentKey, u64>(map::FRAGMENTS, MapKind::LruHash, size::FRAGMENTS),
    MapSpec::kernel::<u32, Quotas>(map::QUOTAS, MapKind::LruHash, size::PODS),
    MapSpec::kernel::<Inbound, Stamp>(map::HOST_FLOWS, MapKind::LruHash, size::HOST_FLOWS),
    MapSpec::kernel::<Inbound, Stamp>(map::REFUSED, MapKind::LruHash, size::REFUSED),
    MapSpec::kernel::<u32, SockState>(map::SOCK_STATE, MapKind::SkStorage, 0),
    MapSpec::kernel::<u32, u64>(map::COUNTERS, MapKind::PerCpuArray, Counter::COUNT),
    MapSpec::kernel::<TrafficKey, Traffic>(map::TRAFFIC, MapKind::PerCpuHash, size::TRAFFIC),
    MapSpec::kernel::<u32, PacketSlot>(map::PACKETS, MapKind::PerCpuArray, size::PACKETS),
    MapSpec::kernel::<UdpKey, UdpTraffic>(map::UDP_TRAFFIC, MapKind::PerCpuHash, size::UDP_TRAFFIC),
    MapSpec::kernel::<UdpServiceKey, u32>(map::UDP_SERVICES, MapKind::LruHash, size::UDP_SERVICES),
    MapSpec::kernel::<(), ()>(map::EVENTS, MapKind::RingBuf, size::EVENTS),
];

/// Default sizes of the maps, in entries. The loader may override those of the hash maps and arrays.
pub mod size {
    /// Pods of one node (the kubelet's default limit is 110, large nodes go to 500).
    pub const PODS: usize = 4_096;
    /// Pods of one node that are not known by their network namespace.
    pub const PENDING_PODS: usize = PODS;
    /// Addresses of pods in the cluster (Kubernetes supports 150,000 pods; dual stack doubles the addresses).
    pub const WORKLOADS: usize = 524_288;
    /// Service frontends: one per address, port and protocol.
    pub const SERVICES: usize = 131_072;
    /// Service ids.
    pub const SERVICE_INFO: usize = 131_072;
    /// Load balancing slots.
    pub const LB_TABLE: usize = 1_048_576;
    /// Backend ids.
    pub const BACKENDS: usize = 262_144;
    /// Members of services that need membership looked up.
    pub const MEMBERS: usize = 524_288;
    /// Entries of all rule sets of one node.
    pub const POLICY: usize = 524_288;
    /// Addresses of pods that a policy can tell from others.
    pub const CLASSES: usize = WORKLOADS;
    /// Prefixes and holes in the address blocks of all policies.
    pub const CIDRS: usize = 65_536;
    /// Pods of one node.
    pub const POD_RULES: usize = PODS;
    /// Remembered clients of services with `ClientIP` affinity.
    pub const AFFINITY: usize = 65_536;
    /// Remembered backends of unconnected UDP sockets.
    pub const UDP_FLOWS: usize = 65_536;
    /// Flows without connections that policies let pass.
    pub const CT_ANY: usize = 131_072;
    /// TCP flows that policies let pass.
    pub const CT_TCP: usize = 131_072;
    /// Packets in pieces, on their way at the same time.
    pub const FRAGMENTS: usize = 4_096;
    /// Prefixes that pods may use beside their own addresses.
    pub const SOURCES: usize = 16_384;
    /// Handshakes of the host's own sockets with pods in a minute: 500 pods with three probes each every ten seconds are
    /// 9,600.
    pub const HOST_FLOWS: usize = 16_384;
    /// Handshakes that were refused within seconds.
    pub const REFUSED: usize = 16_384;
    /// Pairs of a pod of this node and a service it talks to.
    pub const TRAFFIC: usize = 65_536;
    /// Interfaces of pods.
    pub const PACKETS: usize = super::packet::PLACES as usize;
    /// UDP flows at the pods' interfaces.
    pub const UDP_TRAFFIC: usize = 131_072;
    /// Remembered services of pods' UDP backends.
    pub const UDP_SERVICES: usize = 65_536;
    /// Sockets that are enrolled for the redirect.
    pub const SOCKETS: usize = 65_536;
    /// Ring buffer of events, in bytes; a power of two.
    pub const EVENTS: usize = 4 << 20;
    /// Remembered questions of UDP sockets.
    pub const UDP_PEERS: usize = 65_536;
}

#[cfg(test)]
mod tests {
    use super::MAPS;

    #[test]
    fn map_names_fit_the_kernel_and_are_unique() {
        for (index, spec) in MAPS.iter().enumerate() {
            assert!(spec.name.len() <= 15, "{} would be cut", spec.name);
            assert!(
                MAPS[..index].iter().all(|other| other.name != spec.name),
                "{} twice",
                spec.name
            );
        }
    }
}

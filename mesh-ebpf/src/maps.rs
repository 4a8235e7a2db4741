//! The maps. Keys and values are documented in `mesh_common`; user space writes those of the first group,
//! the programs those of the second.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{
        Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf, SkStorage, SockHash,
    },
    macros::btf_map,
};
use mesh_common::{
    abi::size,
    accel::{SocketKey, Splice},
    addr::Addr,
    config::Config,
    conntrack::{FragmentKey, Quotas, TrackKey, Tracked},
    counter::Counter,
    flow::{FlowEvent, Traffic, TrafficKey},
    inbound::{Inbound, Stamp},
    packet::{InterfaceSlot, PacketSlot, UdpKey, UdpServiceKey, UdpTraffic},
    policy::PolicyKey,
    rules::{PodRules, Source},
    service::{Affinity, AffinityKey, Backend, Frontend, Member, ServiceInfo, Slot},
    sock::{SockState, UdpFlow, UdpFlowKey, UdpPeer, UdpPeerKey},
    tag::Tagged,
    workload::PodRef,
};

const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub static PODS: HashMap<u64, PodRef, { size::PODS }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static PENDING_PODS: HashMap<u64, PodRef, { size::PENDING_PODS }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static WORKLOADS: HashMap<Addr, Tagged, { size::WORKLOADS }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static SERVICES: HashMap<Frontend, Tagged, { size::SERVICES }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static SERVICE_INFO: Array<ServiceInfo, { size::SERVICE_INFO }> = Array::new();

#[btf_map]
pub static LB_TABLE: Array<Slot, { size::LB_TABLE }> = Array::new();

#[btf_map]
pub static BACKENDS: Array<Backend, { size::BACKENDS }> = Array::new();

#[btf_map]
pub static MEMBERS: HashMap<Member, u32, { size::MEMBERS }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static POLICY: HashMap<PolicyKey, Tagged, { size::POLICY }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static CLASSES: HashMap<Addr, Tagged, { size::CLASSES }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static CIDRS: LpmTrie<Addr, u32, { size::CIDRS }> = LpmTrie::new();

#[btf_map]
pub static POD_RULES: HashMap<u32, PodRules, { size::POD_RULES }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static INTERFACES: Array<InterfaceSlot, { size::PACKETS }> = Array::new();

#[btf_map]
pub static SOURCES: LpmTrie<Source, u32, { size::SOURCES }> = LpmTrie::new();

#[btf_map]
pub static CONFIG: Array<Config, 1> = Array::new();

#[btf_map]
pub static SOCKETS: SockHash<SocketKey, { size::SOCKETS }> = SockHash::new();

#[btf_map]
pub static MESH_SOCKETS: SockHash<SocketKey, { size::SOCKETS }> = SockHash::new();

#[btf_map]
pub static SPLICES: HashMap<SocketKey, Splice, { size::SOCKETS }, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity, { size::AFFINITY }> = LruHashMap::new();

#[btf_map]
pub static UDP_FLOWS: LruHashMap<UdpFlowKey, UdpFlow, { size::UDP_FLOWS }> = LruHashMap::new();

#[btf_map]
pub static UDP_PEERS: LruHashMap<UdpPeerKey, UdpPeer, { size::UDP_PEERS }> = LruHashMap::new();

#[btf_map]
pub static CT_ANY: LruHashMap<TrackKey, Tracked, { size::CT_ANY }> = LruHashMap::new();

#[btf_map]
pub static CT_TCP: LruHashMap<TrackKey, Tagged, { size::CT_TCP }> = LruHashMap::new();

#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, u64, { size::FRAGMENTS }> = LruHashMap::new();

#[btf_map]
pub static QUOTAS: LruHashMap<u32, Quotas, { size::PODS }> = LruHashMap::new();

#[btf_map]
pub static HOST_FLOWS: LruHashMap<Inbound, Stamp, { size::HOST_FLOWS }> = LruHashMap::new();

#[btf_map]
pub static REFUSED: LruHashMap<Inbound, Stamp, { size::REFUSED }> = LruHashMap::new();

#[btf_map]
pub static SOCK_STATE: SkStorage<SockState> = SkStorage::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { Counter::COUNT }> = PerCpuArray::new();

#[btf_map]
pub static TRAFFIC: PerCpuHashMap<TrafficKey, Traffic, { size::TRAFFIC }, NO_PREALLOC> = PerCpuHashMap::new();

#[btf_map]
pub static EVENTS: RingBuf<FlowEvent, { size::EVENTS }> = RingBuf::new();

#[btf_map]
pub static PACKETS: PerCpuArray<PacketSlot, { size::PACKETS }> = PerCpuArray::new();

#[btf_map]
pub static UDP_TRAFFIC: PerCpuHashMap<UdpKey, UdpTraffic, { size::UDP_TRAFFIC }, NO_PREALLOC> =
    PerCpuHashMap::new();

#[btf_map]
pub static UDP_SERVICES: LruHashMap<UdpServiceKey, u32, { size::UDP_SERVICES }> = LruHashMap::new();

//! The version of the kernel tables and the names they are pinned under.

/// Version of the layout of all maps. The pin directory carries it, so that a changed layout is never
/// misread: raise it with every change to a key, a value or the meaning of a field.
pub const ABI_VERSION: u32 = 1;

/// Names of the maps, at most 15 characters each (`BPF_OBJ_NAME_LEN` less the terminator; the kernel
/// cuts longer ones).
pub mod map {
    /// Network namespace cookie to [`crate::workload::PodRef`]: the pods of this node that are in the mesh.
    pub const PODS: &str = "PODS";
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
    /// One [`crate::config::Config`].
    pub const CONFIG: &str = "CONFIG";

    /// Every map that is pinned.
    pub const ALL: [&str; 13] = [
        PODS,
        WORKLOADS,
        SERVICES,
        SERVICE_INFO,
        LB_TABLE,
        BACKENDS,
        MEMBERS,
        AFFINITY,
        UDP_FLOWS,
        UDP_PEERS,
        SOCK_STATE,
        COUNTERS,
        CONFIG,
    ];
}

/// Default sizes of the maps, in entries. The loader may override those of the hash maps and arrays.
pub mod size {
    /// Pods of one node (the kubelet's default limit is 110, large nodes go to 500).
    pub const PODS: usize = 4_096;
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
    /// Remembered clients of services with `ClientIP` affinity.
    pub const AFFINITY: usize = 65_536;
    /// Remembered backends of unconnected UDP sockets.
    pub const UDP_FLOWS: usize = 65_536;
    /// Remembered questions of UDP sockets.
    pub const UDP_PEERS: usize = 65_536;
}

#[cfg(test)]
mod tests {
    use super::map::ALL;

    #[test]
    fn map_names_fit_the_kernel_and_are_unique() {
        for (index, name) in ALL.iter().enumerate() {
            assert!(name.len() <= 15, "{name} would be cut");
            assert!(!ALL[..index].contains(name), "{name} twice");
        }
    }
}

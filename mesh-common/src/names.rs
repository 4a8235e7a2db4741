//! Every name a user meets in a manifest, on disk or on the wire, written once.

/// Domain of our labels and annotations.
pub const DOMAIN: &str = "mesh-agent.io";

/// Label on a Namespace or Pod: whether its pods are in the mesh.
pub mod dataplane {
    /// The key.
    pub const LABEL: &str = "mesh-agent.io/dataplane";
    /// In the mesh.
    pub const ENABLED: &str = "enabled";
    /// Not in the mesh, whatever the namespace says.
    pub const DISABLED: &str = "disabled";
}

/// Annotation on a Namespace or Pod: whether the pods' own sockets may be accelerated.
pub mod acceleration {
    /// The key.
    pub const ANNOTATION: &str = "mesh-agent.io/acceleration";
    /// Plain TCP (default).
    pub const OFF: &str = "off";
    /// The guarded redirect from socket to socket, towards pods of the same node that ask for it, too.
    pub const SOCKET: &str = "socket";
}

/// Annotation on a Service: how a backend is chosen.
pub mod load_balancing {
    /// The key.
    pub const ANNOTATION: &str = "mesh-agent.io/load-balancing";
    /// A backend at random for every connection (default).
    pub const RANDOM: &str = "random";
    /// Consistent hashing of the client's address.
    pub const MAGLEV: &str = "maglev";
}

/// Annotation on a Pod, read in `--manifests` mode only: path or name of its network namespace.
pub const NETNS_ANNOTATION: &str = "mesh-agent.io/netns";

/// Well-known label of a Node: its zone (`topology.kubernetes.io/zone`, Kubernetes reference of labels).
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Well-known label of an EndpointSlice: the Service it belongs to (`discovery.k8s.io/v1`).
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Default directories.
pub mod path {
    /// Mount point of the BPF filesystem; the pins lie in `mesh/v<abi>` below it.
    pub const BPFFS: &str = "/sys/fs/bpf";
    /// Directory of the pins below the BPF filesystem.
    pub const PIN_ROOT: &str = "mesh";
    /// Runtime directory: lock, admin socket, names.
    pub const RUN_DIR: &str = "/run/mesh";
    /// Where container runtimes and `ip netns` keep handles of network namespaces.
    pub const NETNS_DIR: &str = "/run/netns";
}

/// TCP ports the agent listens on.
pub mod port {
    /// Metrics (Istio's proxy uses the same).
    pub const METRICS: u16 = 15_020;
    /// Readiness (Istio's proxy uses the same).
    pub const READINESS: u16 = 15_021;
}

/// Exit codes of both binaries.
pub mod exit {
    /// Good.
    pub const OK: u8 = 0;
    /// Failed, unhealthy, or drift.
    pub const FAILURE: u8 = 1;
    /// Wrong usage (clap's default).
    pub const USAGE: u8 = 2;
}

//! Every name a user meets in a manifest, on disk or on the wire, written once.

/// Domain of our labels and annotations.
pub const DOMAIN: &str = "mesh-agent.io";

/// Label on a Namespace or Pod: whether its pods are in the mesh.
pub mod dataplane {
    /// The key.
    pub const LABEL: &str = "mesh-agent.io/dataplane";
    /// In the mesh.
    pub const ENABLED: &str = "enabled";
    /// Not in the mesh. A pod's own label says so whatever its namespace's says, unless that one is in the mesh and fails
    /// closed: then the pod's does not count.
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

/// Taint of a Node, of any value and effect, that keeps pods away until the agent is ready; for operators to put on
/// (`kubelet --register-with-taints`).
pub const NOT_READY_TAINT: &str = "mesh-agent.io/agent-not-ready";

/// Words for why a pod that asks for the mesh is not in it.
pub mod unenrolled {
    /// It uses the network of its node.
    pub const HOST_NETWORK: &str = "host-network";
    /// Its sockets are not in this kernel.
    pub const UNSUPPORTED: &str = "unsupported";
    /// Another mesh takes its connections.
    pub const OTHER_MESH: &str = "other-mesh";
    /// Neither it nor its namespace asks for the mesh.
    pub const UNASKED: &str = "does not ask for the mesh";
}

/// Events about pods (`events.k8s.io/v1`).
pub mod event {
    /// Who reports them.
    pub const CONTROLLER: &str = "mesh-agent.io/agent";
    /// What the agent was about to do.
    pub const ACTION: &str = "Enrol";
    /// Another mesh takes the pod's connections.
    pub const OTHER_MESH: &str = "OtherMesh";
    /// The pod's sockets are not in this kernel.
    pub const UNSUPPORTED: &str = "Unsupported";
    /// A label or annotation of ours says what nobody understands, or what does not count.
    pub const INVALID_SETTING: &str = "InvalidSetting";
    /// Another pod has the pod's address.
    pub const ADDRESS_TAKEN: &str = "AddressTaken";
    /// The pod's network namespace is not known.
    pub const NO_NETWORK_NAMESPACE: &str = "NoNetworkNamespace";
    /// A table is full.
    pub const NO_ROOM: &str = "NoRoom";
}

/// What Istio writes on Pods and Namespaces (`istio.io/api/label`, `istio.io/api/annotation`,
/// `pkg/config/constants`).
pub mod istio {
    /// Label on a Namespace or Pod: whether its pods are in Istio's mesh without a sidecar.
    pub const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
    /// They are.
    pub const AMBIENT: &str = "ambient";
    /// They are not, whatever the namespace says.
    pub const NONE: &str = "none";
    /// Annotation on a Pod, written by Istio's CNI agent.
    pub const REDIRECTION: &str = "ambient.istio.io/redirection";
    /// Its connections go to the node's proxy, or are about to.
    pub const REDIRECTED: [&str; 2] = ["enabled", "pending"];
    /// Name of the proxy's container, in pods with a sidecar and in gateways.
    pub const PROXY: &str = "istio-proxy";
}

/// Annotation on a Namespace: what may leave a pod that the mesh can't treat as it should, such as one that is bound to
/// the node and not yet known by its network namespace.
pub mod fail_mode {
    /// The key.
    pub const ANNOTATION: &str = "mesh-agent.io/fail-mode";
    /// It goes on, as far as possible as the mesh would have it (default).
    pub const OPEN: &str = "open";
    /// Nothing.
    pub const CLOSED: &str = "closed";
}

/// Annotation on a Namespace: what becomes of what its policies refuse.
pub mod policy_mode {
    /// The key.
    pub const ANNOTATION: &str = "mesh-agent.io/policy-mode";
    /// It does not pass (default).
    pub const ENFORCE: &str = "enforce";
    /// It passes, and is reported.
    pub const AUDIT: &str = "audit";
}

/// Annotation on a Namespace: prefixes, separated by commas, that its pods may send from besides their own addresses.
pub const ALLOWED_SOURCES_ANNOTATION: &str = "mesh-agent.io/allowed-sources";

/// Well-known label of a Namespace: its name. API servers put it on every one (`core/v1`, `LabelMetadataName`).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What flow records and metrics say of what network policies refuse.
pub mod denial {
    /// It was refused.
    pub const DENIED: &str = "denied";
    /// It would have been refused, but passed: the namespace is in audit mode.
    pub const AUDITED: &str = "audited";
    /// Why: policies select the pod, and no rule of theirs lets it pass.
    pub const POLICY: &str = "policy";
    /// Why: the pod's rules found no room in the kernel's tables.
    pub const NO_ROOM: &str = "no_room";
    /// Where: at the system call of the pod's socket.
    pub const SOCKET: &str = "socket";
    /// Where: before the handshake, in the network namespace of whoever listens.
    pub const LISTENER: &str = "listener";
    /// Where: at the host end of the pod's interface.
    pub const PACKET: &str = "packet";
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

/// Annotation that the kubelet gives to the mirror of a static pod: what it knows the pod by, in the place of a uid
/// (`pkg/kubelet/types`, `ConfigHashAnnotationKey`).
pub const CONFIG_HASH_ANNOTATION: &str = "kubernetes.io/config.hash";

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

/// The agents in a cluster, as `manifests/` installs them.
pub mod install {
    /// Namespace of the agents.
    pub const NAMESPACE: &str = "mesh-system";
    /// The DaemonSet, its container, and the value of [`NAME_LABEL`] on its pods.
    pub const AGENT: &str = "mesh-agent";
    /// Which pods are agents (Kubernetes' recommended labels).
    pub const NAME_LABEL: &str = "app.kubernetes.io/name";
    /// Role and `ClusterRole` of whoever uses `meshctl` from elsewhere.
    pub const OPERATOR: &str = "mesh-operator";
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

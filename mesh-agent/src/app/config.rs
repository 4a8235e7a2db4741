//! The command line of `mesh-agent`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use mesh_common::{
    abi::{MAPS, MapKind},
    names::{path, port},
};

use super::settings::Settings;
use crate::datapath::packets::Way;

/// The node agent of the mesh: loads the kernel programs and keeps their tables equal to what Kubernetes says.
#[derive(Debug, Parser)]
#[command(name = "mesh-agent", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until it gets SIGTERM or SIGINT. The kernel goes on without it.
    Run(Box<RunArgs>),
    /// Run the agent as a child, start it again when it crashes, and reap orphans: process 1 of a container.
    Broker(BrokerArgs),
    /// Remove everything the agent ever installed: links, maps, runtime files. Sockets that are connected stay so.
    Cleanup(Place),
}

/// Options of `mesh-agent broker`, before those of the agent.
#[derive(Args, Clone, Debug)]
pub struct BrokerArgs {
    /// The agent is killed where it has not ended so long after it was told to.
    #[arg(long, env = "MESH_GRACE_PERIOD", value_name = "SECONDS", default_value = "8", value_parser = seconds)]
    pub grace_period: Duration,
    /// What is looked after.
    #[command(subcommand)]
    pub command: Supervised,
}

/// What a broker looks after.
#[derive(Clone, Debug, Subcommand)]
pub enum Supervised {
    /// The agent, with the options of `mesh-agent run`.
    Run(Box<RunArgs>),
}

/// The name of the command that looks after the agent.
pub const BROKER: &str = "broker";

impl Supervised {
    /// The name of the command.
    pub const RUN: &str = "run";
}

impl Cli {
    /// The options of `run`, also where a broker runs it.
    pub fn run_args(&mut self) -> Option<&mut RunArgs> {
        match &mut self.command {
            Command::Run(args)
            | Command::Broker(BrokerArgs {
                command: Supervised::Run(args),
                ..
            }) => Some(args),
            Command::Cleanup(_) => None,
        }
    }
}

/// Where the agent keeps its things; the same for `run` and `cleanup`.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Mount point of a BPF filesystem; maps and links are pinned below it.
    #[arg(long, env = "MESH_BPFFS", value_name = "DIR", default_value = path::BPFFS)]
    pub bpffs: PathBuf,
    /// Runtime directory: lock, admin socket, names.
    #[arg(long, env = "MESH_RUN_DIR", value_name = "DIR", default_value = path::RUN_DIR)]
    pub run_dir: PathBuf,
    /// cgroup2 directory whose sockets the programs see [default: the root of the cgroup2 mount].
    #[arg(long, env = "MESH_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Network namespace with the host ends of the pods' interfaces [default: its own].
    #[arg(long, env = "MESH_HOST_NETNS", value_name = "FILE")]
    pub host_netns: Option<PathBuf>,
}

/// Options of `mesh-agent run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Where the agent keeps its things.
    #[command(flatten)]
    pub place: Place,
    /// File with settings: a YAML mapping whose keys are these flags without their dashes, other than bpffs, run-dir,
    /// cgroup and host-netns, which cleanup and meshctl need, too. Flags and variables count more. It is read at the
    /// start only.
    #[arg(long, env = "MESH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where each setting comes from.
    #[arg(skip)]
    pub settings: Settings,
    /// Directory of Kubernetes YAML or JSON to follow instead of an API server: Namespace, Node, Pod, Service,
    /// EndpointSlice.
    #[arg(long, env = "MESH_MANIFESTS", value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    pub manifests: Option<PathBuf>,
    /// Kubeconfig with the API server to follow [default: $KUBECONFIG, else the service account of the pod].
    #[arg(long, env = "MESH_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one].
    #[arg(long, env = "MESH_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// The API server is first asked at some time within so many seconds, so that the agents of a cluster do not ask
    /// together.
    #[arg(long, env = "MESH_START_JITTER", value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub start_jitter: Duration,
    /// Where another agent has the tables, get ready and wait for its end, instead of ending with an error.
    #[arg(long, env = "MESH_WAIT_FOR_HANDOVER", value_parser = clap::builder::FalseyValueParser::new())]
    pub wait_for_handover: bool,
    /// Directory with handles of the pods' network namespaces.
    #[arg(long, env = "MESH_NETNS_DIR", value_name = "DIR", default_value = path::NETNS_DIR)]
    pub netns_dir: PathBuf,
    /// Name of this node, as in Pod.spec.nodeName [default: the host name].
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Take Istio's label istio.io/dataplane-mode for ours (ambient: enabled, none: disabled) where ours is not set.
    #[arg(long, env = "MESH_HONOR_ISTIO_LABELS", value_parser = clap::builder::FalseyValueParser::new())]
    pub honor_istio_labels: bool,
    /// Remove the taint mesh-agent.io/agent-not-ready from the own Node whenever the agent is ready.
    #[arg(long, env = "MESH_REMOVE_TAINT", value_parser = clap::builder::FalseyValueParser::new())]
    pub remove_taint: bool,
    /// Address that serves /metrics.
    #[arg(long, env = "MESH_METRICS_ADDRESS", value_name = "ADDR", default_value_t = any(port::METRICS))]
    pub metrics_address: SocketAddr,
    /// Address that serves /readyz and /healthz.
    #[arg(long, env = "MESH_READINESS_ADDRESS", value_name = "ADDR", default_value_t = any(port::READINESS))]
    pub readiness_address: SocketAddr,
    /// Size of a map in entries, other than its default; may be given several times, or separated by commas.
    #[arg(long = "map-size", env = "MESH_MAP_SIZE", value_name = "MAP=ENTRIES", value_parser = map_size, value_delimiter = ',')]
    pub map_sizes: Vec<(String, u32)>,
    /// How packets and UDP flows are counted at the pods' interfaces; TCP connections always are.
    #[arg(long, env = "MESH_PACKETS", value_enum, default_value_t = Packets::Auto)]
    pub packets: Packets,
    /// How a socket fails that a network policy refuses to let connect or send.
    #[arg(long, env = "MESH_POLICY_DENY_ERRNO", value_enum, default_value_t = DenyErrno::Econnrefused)]
    pub policy_deny_errno: DenyErrno,
    /// How logs are written.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The error of a socket that a network policy refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DenyErrno {
    /// As if nobody listened there, which every program knows how to take.
    Econnrefused,
    /// Told apart from a server that is down, as a firewall of the host's does it.
    Eperm,
}

impl DenyErrno {
    /// Whether `CONFIG` says so by its flag.
    #[must_use]
    pub const fn is_eperm(self) -> bool {
        matches!(self, Self::Eperm)
    }
}

/// How packets are counted, at the host end of every pod's interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Packets {
    /// By tcx where the kernel has it, else by clsact.
    Auto,
    /// By tcx links (kernel 6.6 and newer).
    Tcx,
    /// By filters of our own in the clsact qdisc, made where there is none.
    Clsact,
    /// Not at all; programs of an earlier agent are removed.
    Off,
}

impl Packets {
    /// The way that was asked for, if so.
    #[must_use]
    pub const fn way(self) -> Option<Way> {
        match self {
            Self::Auto | Self::Off => None,
            Self::Tcx => Some(Way::Tcx),
            Self::Clsact => Some(Way::Clsact),
        }
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Every address of the host, both families.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("{text} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn map_size(text: &str) -> Result<(String, u32), String> {
    let resizable = || {
        MAPS.iter()
            .filter(|spec| spec.kind != MapKind::PerCpuArray)
            .filter(|spec| {
                matches!(spec.kind, MapKind::Hash | MapKind::LruHash | MapKind::LpmTrie)
                    || spec.entries > 1024
            })
    };
    let (name, entries) = text.split_once('=').ok_or("expected MAP=ENTRIES")?;
    if !resizable().any(|spec| spec.name == name) {
        let names: Vec<_> = resizable().map(|spec| spec.name).collect();
        return Err(format!(
            "{name} is no map whose size can be chosen; those are {}",
            names.join(", ")
        ));
    }
    match entries.parse() {
        Ok(entries) if entries > 0 => Ok((name.to_owned(), entries)),
        _ => Err(format!("{entries} is not a number of entries (1 or more)")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn objects_come_from_one_place() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["mesh-agent", "run"], args].concat());
        assert!(parse(&[]).is_ok());
        assert!(parse(&["--kubeconfig", "k", "--context", "c"]).is_ok());
        assert!(parse(&["--manifests", "m"]).is_ok());
        assert!(parse(&["--manifests", "m", "--kubeconfig", "k"]).is_err());
    }

    #[test]
    fn what_is_refused_looks_as_if_nobody_listened_unless_somebody_says_otherwise() {
        let errno = |args: &[&str]| {
            let mut cli = Cli::try_parse_from([&["mesh-agent", "run"], args].concat()).ok()?;
            cli.run_args().map(|args| args.policy_deny_errno)
        };
        assert_eq!(errno(&[]), Some(DenyErrno::Econnrefused));
        assert_eq!(errno(&["--policy-deny-errno", "eperm"]), Some(DenyErrno::Eperm));
        assert_eq!(errno(&["--policy-deny-errno", "EACCES"]), None);
        assert!(DenyErrno::Eperm.is_eperm() && !DenyErrno::Econnrefused.is_eperm());
    }

    #[test]
    fn seconds_may_be_parts_of_one() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for wrong in ["", "x", "-1", "NaN", "1e30"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn map_sizes_name_a_map_and_a_number() {
        assert_eq!(map_size("LB_TABLE=16").unwrap(), ("LB_TABLE".to_owned(), 16));
        assert!(map_size("LB_TABLE").is_err());
        assert!(map_size("LB_TABLE=0").is_err());
        assert!(map_size("COUNTERS=9").unwrap_err().contains("LB_TABLE"));
        assert!(map_size("PACKETS=9000").is_err());
    }
}

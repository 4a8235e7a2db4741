//! What can be done with each kind of object.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use crate::{cli::selector::Selector, telemetry::denial::Verdict};

/// Which objects of a list.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Only objects with these labels, as app=web,tier!=db or 'app in (web,api),!canary'.
    #[arg(short = 'l', long)]
    pub selector: Option<Selector>,
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// One line a service port; a selector looks at the labels of the service.
    List(ListArgs),
    /// One service with its endpoints.
    Show {
        /// The service; NAME alone with --namespace, or an id.
        #[arg(value_name = "NS/NAME")]
        service: String,
    },
}

/// What to do with backends.
#[derive(Debug, Subcommand)]
pub enum BackendVerb {
    /// One line a backend; a selector looks at the labels of the pod behind it.
    List(ListArgs),
    /// One backend with the services that send to it.
    Show {
        /// Address and port, or an id.
        #[arg(value_name = "ADDR:PORT|ID")]
        backend: String,
    },
}

/// What to do with pods.
#[derive(Debug, Subcommand)]
pub enum PodVerb {
    /// One line a pod.
    List(ListArgs),
    /// One pod.
    Show {
        /// The pod; NAME alone with --namespace, or an id.
        #[arg(value_name = "NS/NAME")]
        pod: String,
    },
}

/// What to do with workloads.
#[derive(Debug, Subcommand)]
pub enum WorkloadVerb {
    /// One line an address; a selector looks at the labels of its pod.
    List(ListArgs),
    /// One pod by its name or an address.
    Show {
        /// The pod or an address; NAME alone with --namespace, or an id.
        #[arg(value_name = "NS/NAME|ADDR")]
        workload: String,
    },
}

/// What to do with connections.
#[derive(Debug, Subcommand)]
pub enum ConnectionVerb {
    /// One line a connection.
    List(ConnectionFilter),
    /// One TCP connection.
    Show {
        /// Cookie of its socket.
        cookie: u64,
    },
}

/// Which connections.
#[derive(Args, Clone, Debug, Default)]
pub struct ConnectionFilter {
    /// Only connections of pods with these labels, as app=web,tier!=db or 'app in (web,api),!canary'.
    #[arg(short = 'l', long)]
    pub selector: Option<Selector>,
    /// Only connections of this pod.
    #[arg(long, value_name = "NS/NAME")]
    pub pod: Option<String>,
    /// Only connections to this service.
    #[arg(long, value_name = "NS/NAME")]
    pub service: Option<String>,
}

/// What to do with network policies.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// The network policies the agent knows, one a line.
    List,
    /// One network policy: its rules, the pods of this node it selects, and its entries in the kernel.
    Show {
        /// The policy; NAME alone with --namespace.
        #[arg(value_name = "NS/NAME")]
        policy: String,
    },
    /// Why a flow passes or does not: every rule of both ends, and what the kernel says of it now; fails where the
    /// kernel says something else than the policies.
    Explain(ExplainArgs),
    /// Wait until a version of a network policy is in force on this node; fails where it is not in time.
    Wait {
        /// The policy; NAME alone with --namespace.
        #[arg(value_name = "NS/NAME")]
        policy: String,
        /// Its metadata.generation, or a newer one [default: the newest the agent has seen].
        #[arg(long, value_name = "N")]
        generation: Option<i64>,
        /// How long, as 30s or 500ms.
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = interval)]
        timeout: Duration,
    },
}

/// Options of `policy explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// Who opens the flow.
    #[arg(long, value_name = "NS/POD|ADDR")]
    pub from: String,
    /// Who is asked; of a service, each of its endpoints.
    #[arg(long, value_name = "NS/POD:PORT|ADDR:PORT|service/NS/NAME:PORT")]
    pub to: String,
    /// The protocol.
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub protocol: Transport,
}

/// A protocol that rules can name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Options of `flows`.
#[derive(Args, Clone, Debug, Default)]
pub struct FlowArgs {
    /// Go on with what happens from now on, until interrupted.
    #[arg(short, long)]
    pub follow: bool,
    /// Begin with at most this many of the latest.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub last: usize,
    /// Only flows of this pod.
    #[arg(long, value_name = "NS/NAME")]
    pub pod: Option<String>,
    /// Only flows to this service.
    #[arg(long, value_name = "NS/NAME")]
    pub service: Option<String>,
    /// Only flows that network policies refused, or would have: the namespace is in audit mode.
    #[arg(long, value_enum)]
    pub verdict: Option<Verdict>,
}

/// What to do with maps.
#[derive(Debug, Subcommand)]
pub enum MapVerb {
    /// One line a map.
    List,
    /// The entries of a map; of an array, those that are not zero.
    Dump {
        /// Name of the map.
        name: String,
    },
}

/// What to do with programs.
#[derive(Debug, Subcommand)]
pub enum ProgVerb {
    /// One line a program.
    List,
}

/// What to do with links.
#[derive(Debug, Subcommand)]
pub enum LinkVerb {
    /// One line a link.
    List,
}

/// What to do with acceleration.
#[derive(Debug, Subcommand)]
pub enum AccelVerb {
    /// Whether sockets may be accelerated here, which are, and what the start-up probe found.
    Status,
    /// Switch it on again.
    Enable,
    /// Switch it off at once, for open connections, too, until it is switched on again.
    Disable,
}

/// What else to do with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// What can be set: the key in the file, which is also the flag's name, the variable, the default.
    Schema,
}

/// Options of `sysdump`.
#[derive(Args, Clone, Debug)]
pub struct SysdumpArgs {
    /// Where it goes; - is standard output [default: mesh-sysdump-NODE-TIME.tar.gz].
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// Of all nodes of the cluster that have an agent, by way of the API server.
    #[arg(long)]
    pub all_nodes: bool,
}

/// Options of `top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// What the rates are summed by.
    #[arg(long, value_enum, default_value_t = By::Pod)]
    pub by: By,
    /// Time between two readings, as 1s or 500ms.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// Print one sample and end.
    #[arg(long)]
    pub once: bool,
}

/// What the rates are summed by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum By {
    /// The pod whose socket it is.
    Pod,
    /// The service that was dialled.
    Service,
}

fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text} is no time like 1s or 500ms");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1_000),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = number
        .checked_mul(unit)
        .filter(|&millis| (100..=3_600_000).contains(&millis));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text} is not between 100ms and 3600s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_a_unit_and_bounds() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert!(interval("0s").unwrap_err().contains("100ms"));
        assert!(interval("soon").unwrap_err().contains("1s or 500ms"));
    }
}

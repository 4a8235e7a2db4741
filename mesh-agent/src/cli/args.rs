//! The command line of `meshctl`.

pub mod verb;

use std::{ffi::OsString, path::Path};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};
use clap_complete::Shell;

use self::verb::{
    AccelVerb, BackendVerb, ConfigVerb, ConnectionVerb, FlowArgs, LinkVerb, MapVerb, PodVerb, PolicyVerb,
    ProgVerb, ServiceVerb, SysdumpArgs, TopArgs, WorkloadVerb,
};
use super::remote::args::Remote;
use crate::app::config::Place;

/// Shows what the mesh holds in the kernel of this node, and how its agent is.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version, max_term_width = 100)]
pub struct Cli {
    /// What to show.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// Whose agent is asked.
    #[command(flatten)]
    pub remote: Remote,
    /// End when standard input does: whoever asked from afar is gone.
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Where the agent keeps its things.
    #[command(flatten)]
    pub place: Place,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t = Format::Table, global = true)]
    pub output: Format,
    /// Only objects of this namespace.
    #[arg(short, long, value_name = "NS", global = true)]
    pub namespace: Option<String>,
    /// Objects of all namespaces, which is the default.
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// One `kind/name` a line.
    Name,
}

/// What to show.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// How the mesh on this node is; fails where it is not well.
    Status,
    /// Look for what is wrong, and say what to do about it.
    Check {
        /// Look at a node before the agent is installed.
        #[arg(long)]
        pre: bool,
    },
    /// Services in the kernel.
    #[command(subcommand, visible_alias = "svc")]
    Service(ServiceVerb),
    /// Endpoints that services send to.
    #[command(subcommand)]
    Backend(BackendVerb),
    /// Pods of this node that are in the mesh.
    #[command(subcommand)]
    Pod(PodVerb),
    /// Every pod address of the cluster the kernel knows.
    #[command(subcommand)]
    Workload(WorkloadVerb),
    /// TCP connections and UDP flows of this node's pods that live now.
    #[command(subcommand, visible_alias = "conn")]
    Connection(ConnectionVerb),
    /// Network policies: which are in force on this node, and why a flow passes or does not.
    #[command(subcommand, visible_alias = "netpol")]
    Policy(PolicyVerb),
    /// The maps of the mesh.
    #[command(subcommand)]
    Map(MapVerb),
    /// The programs of the mesh.
    #[command(subcommand)]
    Prog(ProgVerb),
    /// The links that keep the programs attached.
    #[command(subcommand)]
    Link(LinkVerb),
    /// Acceleration: bytes that go from socket to socket on this node.
    #[command(subcommand)]
    Accel(AccelVerb),
    /// Connections and UDP flows opened, closed and refused, as it happens.
    Flows(FlowArgs),
    /// Rates of connections and bytes.
    Top(TopArgs),
    /// Compare what the kernel holds with what the agent wants; fails where they differ.
    Diff,
    /// What the agent was started with, and who said so: flag, variable, file or default.
    Config {
        /// What else to do with settings.
        #[command(subcommand)]
        verb: Option<ConfigVerb>,
    },
    /// Write an archive with all that a maintainer needs to see of this node, or of others. There are no secrets in it.
    Sysdump(SysdumpArgs),
    /// Versions of meshctl and of the agent.
    Version,
    /// Write a completion script for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// A parsed command line, and the name it was given under.
#[derive(Debug)]
pub struct Invocation {
    /// The command line.
    pub cli: Cli,
    /// File name of the program, for completion scripts.
    pub program: &'static str,
    /// The arguments as they were given, without the name.
    pub args: Vec<OsString>,
}

impl Invocation {
    /// Of a command line that was parsed.
    #[must_use]
    pub fn new(cli: Cli, args: Vec<OsString>) -> Self {
        let program = program(args.first());
        let args = args.into_iter().skip(1).collect();
        Self { cli, program, args }
    }

    /// Parses, or prints help or what is wrong and ends the process.
    #[must_use]
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Self {
        let args: Vec<OsString> = args.into_iter().collect();
        let mut command = command(program(args.first()));
        let cli = read(&mut command, &args).unwrap_or_else(|error| error.exit());
        Self::new(cli, args)
    }
}

/// Reads a command line.
///
/// # Errors
/// What is wrong with it, or the help that was asked for.
pub fn read(command: &mut clap::Command, args: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(command))?;
    // clap looks for conflicts at each level of subcommands only.
    if cli.global.all_namespaces && cli.global.namespace.is_some() {
        let conflict = "the argument '--namespace <NS>' cannot be used with '--all-namespaces'";
        return Err(command.error(ErrorKind::ArgumentConflict, conflict));
    }
    Ok(cli)
}

/// The command as it is called under a name. Where the agent keeps its things may be said after the
/// subcommand, too.
#[must_use]
pub fn command(program: &'static str) -> clap::Command {
    let everywhere = [
        "bpffs",
        "run_dir",
        "host_netns",
        "node",
        "agent_namespace",
        "kubeconfig",
        "context",
    ];
    let command = everywhere.into_iter().fold(Cli::command(), |command, name| {
        command.mut_arg(name, |arg| arg.global(true))
    });
    if program == PLUGIN {
        command.name(PLUGIN).bin_name("kubectl mesh").display_name(PLUGIN)
    } else {
        command
    }
}

/// The name kubectl looks for when it is asked for `kubectl mesh`.
const PLUGIN: &str = "kubectl-mesh";

fn program(arg0: Option<&OsString>) -> &'static str {
    let name = arg0.and_then(|path| Path::new(path).file_name());
    if name.is_some_and(|name| name == PLUGIN) {
        PLUGIN
    } else {
        "meshctl"
    }
}

#[cfg(test)]
mod tests;

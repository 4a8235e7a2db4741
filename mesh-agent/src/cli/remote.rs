//! `kubectl mesh --node NODE ...`: the same command, run in the pod of that node's agent.

pub mod args;
mod choice;
mod cluster;
mod exec;

use std::{
    io::{self, Read},
    path::Path,
    process, thread,
};

use mesh_common::names::exit;

use self::{args::Remote, cluster::kubeconfigs};
use super::{
    answer::Answer,
    args::{Cli, Command, Invocation},
    failure::Failure,
    node::Node,
    scope::Scope,
    sysdump,
};
use crate::app::lock;

pub use self::{
    cluster::{Agent, Cluster},
    exec::run as exec,
};

/// What runs in an agent's pod, before the arguments that were given here.
pub const COMMAND: [&str; 2] = ["meshctl", "--end-with-stdin"];

/// What a command is about, where that is not here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// All agents, of what makes one answer of many.
    All,
    /// The agent of a node.
    Node(String),
    /// The agent of the node with this pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// Whose agent is meant; `None` for the one here.
///
/// # Errors
/// A usage error for a pod without a namespace, and options that mean nothing here.
pub fn target(cli: &Cli) -> Result<Option<Target>, Failure> {
    let Remote {
        node,
        pod,
        kubeconfig,
        context,
        ..
    } = &cli.remote;
    let all = matches!(&cli.command, Command::Sysdump(args) if args.all_nodes);
    match (node, pod) {
        (None, None) if all => Ok(Some(Target::All)),
        _ if all => Err(Failure::usage("--all-nodes goes without --node and --pod")),
        // clap looks for conflicts at each level of subcommands only.
        (Some(_), Some(_)) => Err(Failure::usage(
            "--node and --pod both say which agent: leave one out",
        )),
        (Some(node), None) => Ok(Some(Target::Node(node.clone()))),
        (None, Some(pod)) => {
            let scope = Scope::new(cli.global.namespace.clone());
            let (namespace, name) = scope.object("pod", pod)?;
            Ok(Some(Target::Pod { namespace, name }))
        }
        (None, None) if kubeconfig.is_some() || context.is_some() => Err(Failure::usage(
            "--kubeconfig and --context are for the agent of a node: say which with --node or --pod",
        )),
        (None, None) => Ok(None),
    }
}

/// Whether this is a machine without a mesh but with a kubeconfig: then an agent elsewhere is meant.
///
/// # Errors
/// Where it is, with the next step.
pub fn elsewhere(node: &Node) -> Result<(), Failure> {
    let nothing = |path: &Path| {
        path.symlink_metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let (pins, run_dir) = (node.pins.root(), node.run_dir());
    if nothing(pins)
        && nothing(&lock::admin_socket(run_dir))
        && kubeconfigs().iter().any(|file| file.is_file())
    {
        return Err(Failure::failed(format!(
            "no mesh on this machine (no tables under {}, no agent in {}): add --node NODE or, before the command, \
             --pod NS/NAME to ask an agent of your cluster",
            pins.display(),
            run_dir.display()
        )));
    }
    Ok(())
}

/// Runs the command there. What it says was written when this returns.
///
/// # Errors
/// Where the agent can't be found or the command can't be run.
pub fn run(target: &Target, invocation: &Invocation) -> Result<Answer, Failure> {
    let remote = &invocation.cli.remote;
    let left = args::without(&invocation.args, remote)?;
    on_runtime(async {
        let cluster = Cluster::open(remote).await?;
        let nodes = match target {
            Target::All => cluster.nodes().await?,
            Target::Node(node) => vec![node.clone()],
            Target::Pod { namespace, name } => vec![cluster.node_of(namespace, name).await?],
        };
        if let Command::Sysdump(args) = &invocation.cli.command {
            return sysdump::afar(&cluster, &nodes, args.file.as_deref()).await;
        }
        let agent = cluster.agent(nodes.first().map_or("", String::as_str)).await?;
        let command = [&COMMAND.map(ToOwned::to_owned)[..], &left[..]].concat();
        let exit = exec(&cluster, &agent, &command, &mut io::stdout()).await?;
        Ok(Answer {
            text: String::new(),
            exit,
        })
    })
}

fn on_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("starting: {error}")))?;
    runtime.block_on(work)
}

/// Ends this process when its standard input ends. A command in a pod is not told that nobody listens any more, and would
/// go on until it has something to say; but its input ends then.
pub fn end_with_stdin() {
    thread::spawn(|| {
        let _ended = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        process::exit(exit::FAILURE.into());
    });
}

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

use self::{
    args::Remote,
    cluster::{Cluster, kubeconfigs},
};
use super::{
    answer::Answer,
    args::{Cli, Invocation},
    failure::Failure,
    node::Node,
    scope::Scope,
};
use crate::app::lock;

/// What a command is about, where that is not here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
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
    match (node, pod) {
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
        let node = match target {
            Target::Node(node) => node.clone(),
            Target::Pod { namespace, name } => cluster.node_of(namespace, name).await?,
        };
        let agent = cluster.agent(&node).await?;
        let command = [&["meshctl".to_owned(), "--end-with-stdin".to_owned()], &left[..]].concat();
        let exit = exec::run(&cluster, &agent, &command, &mut io::stdout()).await?;
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

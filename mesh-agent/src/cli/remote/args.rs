//! The options that say whose agent is asked, and how they are taken out of a command line again.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Command};
use mesh_common::names::install;

use crate::cli::failure::Failure;

/// Whose agent is asked, from a machine with a kubeconfig. The command then runs in the pod of that agent.
#[derive(Args, Clone, Debug)]
pub struct Remote {
    /// Ask the agent of this node of the cluster instead of the one here.
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Ask the agent of the node that this pod is on; stands before the command.
    #[arg(long, value_name = "NS/NAME")]
    pub pod: Option<String>,
    /// With --node or --pod: the namespace of the agents.
    #[arg(long, value_name = "NS", default_value = install::NAMESPACE)]
    pub agent_namespace: String,
    /// With --node or --pod: the kubeconfig [default: $KUBECONFIG, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// With --node or --pod: the context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// The arguments without those of [`Remote`]: what is left is for the `meshctl` in the agent's pod.
///
/// # Errors
/// A usage error where they are no text, which is all that can be sent.
pub fn without(args: &[OsString], remote: &Remote) -> Result<Vec<String>, Failure> {
    let text = |arg: &OsString| {
        arg.to_str()
            .map(ToOwned::to_owned)
            .ok_or_else(|| Failure::usage(format!("{} is not UTF-8, and can't be sent", arg.display())))
    };
    let mut pod = remote.pod.is_some();
    let mut left = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let arg = text(arg)?;
        let (name, value) = arg
            .split_once('=')
            .map_or((&*arg, None), |(name, value)| (name, Some(value)));
        // Some commands have a --pod of their own. Ours stands before the command, so it is the first.
        let ours = if name == "--pod" {
            std::mem::take(&mut pod)
        } else {
            is_ours(name)
        };
        match (ours, value) {
            (false, _) => left.push(arg),
            (true, Some(_)) => {}
            (true, None) => drop(args.next()),
        }
    }
    Ok(left)
}

fn is_ours(name: &str) -> bool {
    let options = Remote::augment_args(Command::new(""));
    let longs = options.get_arguments().filter_map(clap::Arg::get_long);
    name.strip_prefix("--")
        .is_some_and(|name| longs.into_iter().any(|long| long == name))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[test]
    fn what_is_left_is_for_the_agents_pod() {
        for (line, expected) in [
            ("--node n1 status", "status"),
            ("status --node=n1 -o json", "status -o json"),
            (
                "--pod shop/web connection list --pod shop/api",
                "connection list --pod shop/api",
            ),
            ("--node n1 flows --pod=shop/api -f", "flows --pod=shop/api -f"),
            (
                "--kubeconfig k --context=c --agent-namespace m --pod a/b -n shop pod list -l app=web",
                "-n shop pod list -l app=web",
            ),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let command = crate::cli::args::command("meshctl");
            let matches = command
                .try_get_matches_from([&["meshctl".into()], &args[..]].concat())
                .unwrap();
            let remote = Remote::from_arg_matches(&matches).unwrap();
            assert_eq!(without(&args, &remote).unwrap().join(" "), expected);
        }
    }
}

//! `cargo xtask bench`: what the mesh costs, in network namespaces of this machine.
//!
//! The benchmark itself is `mesh-bench` of the package `mesh-tests`, which has the harness. This half prepares
//! it, passes signals on, and looks afterwards, however it ended, whether anything is left.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::demo::{self, Host};
use crate::ebpf;
use crate::run::run as run_command;
use crate::setup::{self, Group};
use crate::workspace::Workspace;

#[path = "../../tests/src/bin/mesh-bench/options.rs"]
mod options;

pub use options::Options as Args;

/// Prepares and measures; the exit status is 1 when a bar is missed.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    if let Some(lack) = Host::look().lack() {
        bail!("the benchmark cannot run here: {lack}");
    }
    setup::ensure(&[Group::Toolchain, Group::Demo], workspace)?;
    ebpf::build(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args([
        "build",
        "--release",
        "--package",
        "mesh-agent",
        "--package",
        "mesh-tests",
        "--bins",
    ]);
    run_command(&mut cargo)?;
    let mut command = command(args, &workspace.target().join("release"))?;
    let reached = demo::show(&mut command, false)?;
    Ok(if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn command(args: &Args, binaries: &Path) -> Result<Command> {
    let mut command = Command::new(binaries.join("mesh-bench"));
    command
        .env("MESH_AGENT_BIN", binaries.join("mesh-agent"))
        .env("MESHCTL_BIN", binaries.join("meshctl"));
    command.arg("--pairs").arg(args.pairs.to_string());
    for part in args.only.iter().filter_map(ValueEnum::to_possible_value) {
        command.arg("--only").arg(part.get_name());
    }
    if let Some(json) = &args.json {
        command
            .arg("--json")
            .arg(std::path::absolute(json).context("--json")?);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::options::Part;
    use super::*;
    use crate::shown::shown;

    #[test]
    fn the_flags_go_on_to_the_benchmark() {
        let args = Args {
            pairs: 15,
            only: vec![Part::Scale, Part::Streams],
            json: Some("/tmp/figures.json".into()),
        };
        let command = command(&args, Path::new("/t/release")).unwrap();
        assert_eq!(
            shown(&command),
            "MESHCTL_BIN=/t/release/meshctl MESH_AGENT_BIN=/t/release/mesh-agent mesh-bench --pairs 15 --only scale --only streams --json /tmp/figures.json"
        );
    }
}

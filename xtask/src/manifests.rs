//! `cargo xtask manifests`: what is applied to a cluster.
//!
//! The work is done by `mesh-manifests` of the package `mesh-tests`: it knows Kubernetes' types, which would take
//! longer to build than all of this program.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::lint::passes;
use crate::workspace::Workspace;

/// What `manifests` is asked to do.
#[derive(clap::Args)]
pub struct Args {
    /// Say what is wrong instead of listing the objects
    #[arg(long)]
    check: bool,
}

/// Lists or checks.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    let mut command = command(workspace);
    if args.check {
        command.arg("--check");
    }
    Ok(if passes(&mut command)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The check, for who runs it among others.
pub fn check(workspace: &Workspace) -> Command {
    let mut command = command(workspace);
    command.arg("--check");
    command
}

fn command(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo
        .args([
            "run",
            "--quiet",
            "--package",
            "mesh-tests",
            "--bin",
            "mesh-manifests",
            "--",
        ])
        .arg("manifests");
    cargo
}

//! `cargo xtask tidy`: what a machine can review.

mod dependencies;

use std::process::ExitCode;

use anyhow::Result;

use crate::ebpf;
use crate::lint::{Mode, lint, passes};
use crate::workspace::Workspace;

/// What `tidy` is asked to do.
#[derive(clap::Args)]
pub struct Args {
    /// Repair what can be repaired
    #[arg(long)]
    fix: bool,
}

/// Runs every check and names those that failed.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    ebpf::build(workspace)?;
    let mut failed = lint(if args.fix { Mode::Fix } else { Mode::Check }, workspace)?;
    let mut doc = workspace.cargo();
    doc.args(["doc", "--no-deps", "--workspace"])
        .env("RUSTDOCFLAGS", "-D warnings");
    if !passes(&mut doc)? {
        failed.push("documentation");
    }
    failed.extend(dependencies::check(workspace)?);
    for name in &failed {
        println!("FAILED {name}");
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

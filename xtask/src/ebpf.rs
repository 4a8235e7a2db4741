//! `cargo xtask build-ebpf`: the kernel half, by whichever toolchain is there.

mod command;
mod facts;
mod object;
mod toolchain;

use std::process::ExitCode;

use anyhow::{Result, anyhow};

use crate::run::run as run_command;
use crate::setup::{self, Toolchain};
use crate::workspace::Workspace;

pub use facts::Facts;
pub use toolchain::Kind;
use toolchain::Lack;

const TARGET: &str = "bpfel-unknown-none";

/// What `build-ebpf` is asked to do.
#[derive(clap::Args)]
pub struct Args {
    /// Insist on one toolchain instead of taking what is there
    #[arg(long)]
    toolchain: Option<Kind>,
}

/// Builds the kernel programs.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    build_with(args.toolchain, workspace)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the kernel programs with the toolchain that is there.
pub fn build(workspace: &Workspace) -> Result<()> {
    build_with(None, workspace)
}

fn build_with(wish: Option<Kind>, workspace: &Workspace) -> Result<()> {
    let facts = Facts::gather();
    let choice = toolchain::choose(&facts, wish).map_err(|lack| {
        let found = Toolchain {
            compiler: lack == Lack::Linker,
            linker: facts.linker.is_some(),
        };
        anyhow!(
            "cannot build the kernel programs: {lack}\n{}",
            setup::advice(wish, found)
        )
    })?;
    eprintln!("kernel toolchain: {choice}");
    run_command(&mut command::build(&choice, workspace))?;
    let built = workspace.ebpf_target().join(TARGET).join("release/mesh-ebpf");
    object::publish(&built, &workspace.object())
}

//! `cargo xtask setup`: what the other tasks need on this machine, installed when missing.

mod advice;
pub mod apt;
mod cargo_install;
mod clusters;
mod package;
mod plan;
mod services;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::ebpf::{self, Kind};
use crate::workspace::Workspace;

pub use advice::advice;
pub use cargo_install::ensure_cargo_deny;
use plan::Plan;
pub use plan::Toolchain;

/// What `setup` is asked to do.
#[derive(clap::Args)]
pub struct Args {
    /// Only tell what is missing; the exit status is 1 when something is
    #[arg(long)]
    check: bool,

    /// What to install for; everything when none is named
    groups: Vec<Group>,
}

/// What a task may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Building the kernel programs
    Toolchain,
    /// Running the kernel tests
    Test,
    /// Running kernel tests on another kernel
    Emulator,
    /// Showing and measuring the mesh
    Demo,
    /// Building for arm64
    Cross,
}

/// Tells or installs what is missing.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    let groups = if args.groups.is_empty() {
        Group::value_variants()
    } else {
        &args.groups
    };
    let plan = plan(groups)?;
    if plan.is_empty() {
        println!("nothing is missing");
        return Ok(ExitCode::SUCCESS);
    }
    print!("{plan}");
    if args.check {
        return Ok(ExitCode::FAILURE);
    }
    carry_out(&plan, workspace)?;
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing for these groups; says nothing when nothing is.
pub fn ensure(groups: &[Group], workspace: &Workspace) -> Result<()> {
    let plan = plan(groups)?;
    if plan.is_empty() {
        return Ok(());
    }
    print!("{plan}");
    carry_out(&plan, workspace)
}

fn plan(groups: &[Group]) -> Result<Plan> {
    let toolchain = groups
        .contains(&Group::Toolchain)
        .then(|| ebpf::Facts::gather().found());
    let Some(installed) = apt::installed()? else {
        if let Some(found) = toolchain.filter(|found| !found.is_complete()) {
            bail!("the kernel toolchain is not complete\n{}", advice(None, found));
        }
        eprintln!("note: this is not Debian: that {groups:?} have their programs is not checked");
        return Ok(Plan::default());
    };
    Ok(Plan::new(groups, toolchain, &installed))
}

fn carry_out(plan: &Plan, workspace: &Workspace) -> Result<()> {
    let packages: Vec<_> = plan.packages.iter().map(|package| package.name).collect();
    if packages.contains(&package::COMPILER) && !apt::knows(package::COMPILER) {
        apt::require_root(&packages)?;
        apt::update()?;
        if !apt::knows(package::COMPILER) {
            let found = ebpf::Facts::gather().found();
            bail!(
                "apt does not know {}\n{}",
                package::COMPILER,
                advice(Some(Kind::Rustup), found)
            );
        }
    }
    apt::install(&packages)?;
    if plan.bpf_linker {
        cargo_install::bpf_linker(workspace)?;
    }
    Ok(())
}

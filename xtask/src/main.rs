//! Developer tasks: `cargo xtask --help`.

mod bench;
mod build;
mod cross;
mod demo;
mod ebpf;
mod environment;
mod image;
mod interrupt;
mod kernel;
mod lint;
mod manifests;
mod run;
mod search;
mod setup;
mod shown;
mod stream;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::interrupt::Interrupted;
use crate::workspace::Workspace;

/// Builds, tests and tidies the mesh.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing on this machine
    Setup(setup::Args),
    /// Build the kernel programs
    BuildEbpf(ebpf::Args),
    /// Build the kernel programs, then the agent and meshctl with them inside
    Build(build::Args),
    /// Make a container image of the agent and meshctl
    Image(image::Args),
    /// Lint and test everything, from setup to one line of totals
    Test(test::Args),
    /// Show the mesh at work, in network namespaces; as root
    Demo(demo::Args),
    /// Measure what the mesh costs, as ratios to the same without it; as root
    Bench(bench::Args),
    /// List what is applied to a cluster, or check it without one
    Manifests(manifests::Args),
    /// Check what reviewers should not have to: format, lints, documentation, dependencies
    Tidy(tidy::Args),
}

fn main() -> ExitCode {
    perform(Cli::parse().task).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        match error.downcast_ref::<Interrupted>() {
            Some(interrupted) => interrupted.exit_code(),
            None => ExitCode::FAILURE,
        }
    })
}

fn perform(task: Task) -> Result<ExitCode> {
    interrupt::listen()?;
    let workspace = Workspace::find()?;
    match task {
        Task::Setup(args) => setup::run(&args, &workspace),
        Task::BuildEbpf(args) => ebpf::run(&args, &workspace),
        Task::Build(args) => build::run(&args, &workspace),
        Task::Image(args) => image::run(&args, &workspace),
        Task::Test(args) => test::run(&args, &workspace),
        Task::Demo(args) => demo::run(&args, &workspace),
        Task::Bench(args) => bench::run(&args, &workspace),
        Task::Manifests(args) => manifests::run(&args, &workspace),
        Task::Tidy(args) => tidy::run(&args, &workspace),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}

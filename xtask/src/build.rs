//! `cargo xtask build`: the agent and meshctl, with the kernel programs inside.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::ebpf;
use crate::run::run as run_command;
use crate::workspace::Workspace;

/// The name under which kubectl finds meshctl as its plugin.
const PLUGIN: &str = "kubectl-mesh";

/// What `build` is asked to do.
#[derive(clap::Args)]
pub struct Args {
    /// Optimise
    #[arg(long)]
    release: bool,
}

/// Builds both halves.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    build(args.release, workspace)?;
    let directory = workspace
        .target()
        .join(if args.release { "release" } else { "debug" });
    link_plugin(&directory)?;
    for binary in ["mesh-agent", "meshctl", PLUGIN] {
        println!("{}", directory.join(binary).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds both halves, optimised or not.
pub fn build(release: bool, workspace: &Workspace) -> Result<()> {
    ebpf::build(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "mesh-agent"]);
    if release {
        cargo.arg("--release");
    }
    run_command(&mut cargo)
}

fn link_plugin(directory: &Path) -> Result<()> {
    let link = directory.join(PLUGIN);
    match symlink("meshctl", &link) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(&link).and_then(|()| symlink("meshctl", &link))
        }
        done => done,
    }
    .with_context(|| link.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_meshctl_however_often_it_is_linked() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(PLUGIN), "old").unwrap();
        for _ in 0..2 {
            link_plugin(dir.path()).unwrap();
            assert_eq!(
                fs::read_link(dir.path().join(PLUGIN)).unwrap(),
                Path::new("meshctl")
            );
        }
    }
}

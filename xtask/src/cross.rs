//! Builds the agent and meshctl for arm64: nothing may depend on the layout of x86.

mod elf;
mod library;

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::interrupt::Interrupted;
use crate::lint;
use crate::search;
use crate::setup::{self, Group};
use crate::workspace::Workspace;
use library::Library;

/// The target.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// What links for it; a package of this machine's own architecture.
const LINKER: &str = "aarch64-linux-gnu-gcc";
const BINARIES: [&str; 2] = ["mesh-agent", "meshctl"];

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both binaries are there, for the right machine.
    Built,
    /// They are not.
    Failed,
    /// It could not be tried, and why.
    Skipped(String),
}

/// Builds both binaries and looks what they are made for.
///
/// # Errors
/// Only when interrupted.
pub fn build(workspace: &Workspace) -> Result<Outcome> {
    let library = match prepare(workspace) {
        Ok(library) => library,
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => {
            let reason = format!("{error:#}");
            let lines: Vec<_> = reason.lines().map(str::trim).collect();
            return Ok(Outcome::Skipped(lines.join(" ")));
        }
    };
    eprintln!("standard library for {TARGET}: {library}");
    let target = match &library {
        // Build scripts and macros are those of the host half.
        Library::Own => workspace.target().to_owned(),
        Library::System { .. } => workspace.target().join("cross"),
    };
    let mut cargo = workspace.cargo();
    cargo
        .args([
            "build",
            "--package",
            "mesh-agent",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&target)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env("MESH_EBPF_OBJECT", workspace.object());
    if let Library::System { rustc, sysroot } = &library {
        cargo.env("RUSTC", rustc);
        if let Some(sysroot) = sysroot {
            let mut flags = OsString::from("--sysroot=");
            flags.push(sysroot);
            cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
        }
    }
    if !lint::passes(&mut cargo)? {
        return Ok(Outcome::Failed);
    }
    Ok(inspect(&target.join(TARGET).join("debug")))
}

/// Installs the linker and finds the standard library.
fn prepare(workspace: &Workspace) -> Result<Library> {
    setup::ensure(&[Group::Cross], workspace)?;
    ensure!(search::has_program(LINKER), "{LINKER} is missing");
    library::find(workspace)
}

fn inspect(directory: &Path) -> Outcome {
    for file in BINARIES.map(|name| directory.join(name)) {
        if let Err(error) = elf::require_arm64(&file) {
            eprintln!("{}: {error:#}", file.display());
            return Outcome::Failed;
        }
        println!("{} is for arm64", file.display());
    }
    Outcome::Built
}

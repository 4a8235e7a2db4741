//! Format and lints, of both halves.

use std::process::Command;

use anyhow::Result;

use crate::interrupt::Interrupted;
use crate::manifests;
use crate::run::run;
use crate::workspace::Workspace;

/// Whether a check changes what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It only tells.
    Check,
    /// It repairs what it can.
    Fix,
}

/// Runs every check, whatever the others found; returns the names of those that failed.
pub fn lint(mode: Mode, workspace: &Workspace) -> Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    for (name, mut command) in checks(mode, workspace) {
        if !passes(&mut command)? {
            failed.push(name);
        }
    }
    Ok(failed)
}

/// Runs a check; only an interruption is an error.
pub fn passes(command: &mut Command) -> Result<bool> {
    match run(command) {
        Ok(()) => Ok(true),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => {
            eprintln!("{error:#}");
            Ok(false)
        }
    }
}

fn checks(mode: Mode, workspace: &Workspace) -> [(&'static str, Command); 4] {
    let mut format = workspace.cargo();
    format.args(["fmt", "--all"]);
    if mode == Mode::Check {
        format.arg("--check");
    }
    [
        ("format", format),
        (
            "clippy",
            clippy(
                mode,
                workspace,
                &["--workspace", "--exclude", "mesh-ebpf", "--all-targets"],
            ),
        ),
        (
            "clippy of the kernel half",
            clippy(mode, workspace, &["--package", "mesh-ebpf"]),
        ),
        ("manifests", manifests::check(workspace)),
    ]
}

fn clippy(mode: Mode, workspace: &Workspace, selection: &[&str]) -> Command {
    let mut clippy = workspace.cargo();
    clippy.arg("clippy").args(selection);
    if mode == Mode::Fix {
        clippy.args(["--fix", "--allow-dirty", "--allow-staged"]);
    }
    clippy.args(["--", "-D", "warnings"]);
    clippy
}

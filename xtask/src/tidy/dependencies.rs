//! The rules for dependencies, see `deny.toml`.

use std::process::Command;

use anyhow::Result;

use crate::lint::passes;
use crate::setup;
use crate::workspace::Workspace;

/// Returns the names of the checks that failed.
pub fn check(workspace: &Workspace) -> Result<Vec<&'static str>> {
    setup::ensure_cargo_deny(workspace)?;
    let mut failed = Vec::new();
    if !passes(&mut deny(workspace, &["check", "bans", "licenses", "sources"]))? {
        failed.push("dependencies");
    }
    // The advisories are the one thing that is not in the tree.
    if !passes(&mut deny(workspace, &["fetch", "db"]))? {
        println!("SKIP advisories: the advisory database cannot be fetched from here");
    } else if !passes(&mut deny(workspace, &["check", "--disable-fetch", "advisories"]))? {
        failed.push("advisories");
    }
    Ok(failed)
}

fn deny(workspace: &Workspace, args: &[&str]) -> Command {
    let mut cargo = workspace.cargo();
    cargo.arg("deny").args(args);
    cargo
}

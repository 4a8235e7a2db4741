//! Checks the manifests without a cluster; started by `cargo xtask manifests`.
//!
//! Every document has to be, field for field, what the API server would take, and what objects say of each other has
//! to be true: an API server checks the first in part and the second not at all.

mod finding;
mod kustomization;
mod pods;
mod reference;
mod strict;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use finding::Finding;
use world::World;

/// Checks manifests without a cluster.
#[derive(Parser)]
#[command(name = "mesh-manifests")]
struct Options {
    /// Directory of the manifests
    directory: PathBuf,

    /// Say what is wrong instead of what there is
    #[arg(long)]
    check: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let (world, mut findings) = World::load(&options.directory)?;
    if !options.check {
        for object in world.objects() {
            println!("{object}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    findings.extend(check(&world));
    for finding in &findings {
        println!("{finding}");
    }
    println!("{} objects, {} findings", world.objects().count(), findings.len());
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check(world: &World) -> Vec<Finding> {
    let mut findings = kustomization::check(world);
    findings.extend(strict::check(world));
    findings.extend(pods::check(world));
    findings.extend(reference::check(world));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_right() {
        let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests"));
        let (world, unread) = World::load(&directory).unwrap();
        let findings: Vec<_> = unread.into_iter().chain(check(&world)).collect();
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(lines, Vec::<String>::new());
        assert!(world.objects().count() > 10);
    }
}

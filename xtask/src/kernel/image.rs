//! The image that the guest boots into: busybox, modules, and two scripts.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::module;
use super::newc::Archive;
use super::package::Kernel;

/// Where the host's root is mounted, and the layer over it.
const DIRECTORIES: [&str; 7] = ["bin", "dev", "lower", "modules", "proc", "root", "upper"];

/// What comes first: the host's root becomes the guest's, under a layer in memory.
const INIT: &str = include_str!("init.sh");

/// The image with `script` as what is run once the root is there.
pub fn build(kernel: &Kernel, script: &str) -> Result<Vec<u8>> {
    let busybox = fs::read(&kernel.busybox).with_context(|| kernel.busybox.display().to_string())?;
    let modules = module::load_order(&kernel.modules)?;
    let mut archive = Archive::default();
    for directory in DIRECTORIES {
        archive.directory(directory);
    }
    archive.file("bin/busybox", &busybox);
    let mut order = String::new();
    for (name, content) in &modules {
        archive.file(&format!("modules/{name}.ko"), content);
        let _ = writeln!(order, "{name}");
    }
    archive.file("modules/order", order.as_bytes());
    archive.file("init", INIT.as_bytes());
    archive.file("guest.sh", script.as_bytes());
    Ok(archive.finish())
}

//! Kernels come from Debian packages: fetched when first wanted, unpacked, and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use super::Version;
use crate::run::run;
use crate::setup::apt;

/// What the image needs beside the kernel: a shell and tools without libraries.
const BUSYBOX: &str = "busybox-static";

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// What is booted.
    pub image: PathBuf,
    /// Where its modules are.
    pub modules: PathBuf,
    /// A busybox without libraries.
    pub busybox: PathBuf,
}

impl Kernel {
    /// The kernel in `cache`, fetched unless it is there.
    pub fn fetch(version: Version, cache: &Path) -> Result<Self> {
        let directory = cache.join(version.name());
        if !directory.is_dir() {
            let packages = [package(version)?, BUSYBOX.to_owned()];
            unpack(&packages, cache, &directory)?;
        }
        Self::find(&directory)
    }

    fn find(directory: &Path) -> Result<Self> {
        let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| directory.join(path));
        let [first, second] = busybox;
        Ok(Self {
            image: only(&directory.join("boot"), "vmlinuz-")?,
            modules: only(&directory.join("lib/modules"), "")?,
            busybox: if first.is_file() { first } else { second },
        })
    }
}

/// The newest package of this kernel that apt knows.
fn package(version: Version) -> Result<String> {
    let pattern = format!(
        r"^linux-image-{}\.[0-9.]+-[0-9]+-amd64$",
        version.name().replace('.', r"\.")
    );
    newest(apt::search(&pattern))
        .ok_or_else(|| anyhow!("apt knows no package linux-image-{}.*-amd64", version.name()))
}

/// By the numbers in the name.
fn newest(names: Vec<String>) -> Option<String> {
    names.into_iter().max_by_key(|name| {
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        numbers
            .filter_map(|number| number.parse::<u32>().ok())
            .collect::<Vec<_>>()
    })
}

/// `directory` appears when all is there.
fn unpack(packages: &[String], cache: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(cache).with_context(|| cache.display().to_string())?;
    let temporary = || TempDir::new_in(cache).with_context(|| cache.display().to_string());
    let (fetched, unpacked) = (temporary()?, temporary()?);
    let names: Vec<_> = packages.iter().map(String::as_str).collect();
    apt::download(&names, fetched.path())?;
    for entry in fs::read_dir(fetched.path()).context("listing what was fetched")? {
        let archive = entry.context("listing what was fetched")?.path();
        run(Command::new("dpkg-deb")
            .arg("-x")
            .arg(&archive)
            .arg(unpacked.path()))?;
    }
    Kernel::find(unpacked.path())?;
    fs::rename(unpacked.path(), directory).with_context(|| directory.display().to_string())
}

/// The only entry of a directory that begins like this.
fn only(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut found = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path());
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        _ => Err(anyhow!("not exactly one {prefix}* in {}", directory.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_so_by_number() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-44-amd64",
        ];
        let newest = newest(names.map(str::to_owned).to_vec());
        assert_eq!(newest.as_deref(), Some("linux-image-6.1.0-56-amd64"));
    }

    #[test]
    fn a_kernel_is_its_image_and_modules() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["boot", "lib/modules/6.1.0-56-amd64", "bin"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        assert!(Kernel::find(dir.path()).is_err());
        fs::write(dir.path().join("boot/vmlinuz-6.1.0-56-amd64"), "").unwrap();
        fs::write(dir.path().join("boot/config-6.1.0-56-amd64"), "").unwrap();
        let kernel = Kernel::find(dir.path()).unwrap();
        assert!(kernel.image.ends_with("boot/vmlinuz-6.1.0-56-amd64"));
        assert!(kernel.modules.ends_with("lib/modules/6.1.0-56-amd64"));
    }
}

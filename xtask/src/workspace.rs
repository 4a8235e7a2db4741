//! Where things are.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::environment;

/// The source tree and its target directory.
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace this program belongs to; `CARGO_TARGET_DIR` is respected.
    pub fn find() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir
            .parent()
            .with_context(|| format!("{} has no parent", manifest_dir.display()))?
            .to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => std::path::absolute(dir).context("CARGO_TARGET_DIR")?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The source tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The target directory of the host half.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The target directory of the kernel half: its own, so that neither half invalidates the other.
    pub fn ebpf_target(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// Where the finished kernel object lies; the build script of the agent looks there.
    pub fn object(&self) -> PathBuf {
        self.target.join("bpf/mesh-ebpf.o")
    }

    /// The cargo in use, for the host half.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(environment::cargo());
        cargo.current_dir(&self.root);
        environment::clear(&mut cargo, environment::describes_this_program);
        if self.target != self.root.join("target") {
            cargo.env("CARGO_TARGET_DIR", &self.target);
        }
        cargo
    }

    /// `program` for the kernel half: nothing of the host's choice of compiler and flags reaches it.
    pub fn kernel_half(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        environment::clear(&mut command, environment::steers_a_build);
        command
    }
}

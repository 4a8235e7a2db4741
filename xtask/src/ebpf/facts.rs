//! What of a kernel toolchain is on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::ask;
use crate::search;
use crate::setup::Toolchain;

const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// A nightly toolchain of rustup that has rust-src.
    pub nightly: Option<String>,
    /// A nightly toolchain of rustup that lacks rust-src.
    pub nightly_without_source: Option<String>,
    /// The rustc of the distribution, when it has a core for the kernel target.
    pub system_rustc: Option<PathBuf>,
    /// A bpf-linker that runs.
    pub linker: Option<PathBuf>,
}

impl Facts {
    /// Looks around. Runs nothing but `bpf-linker --version`.
    pub fn gather() -> Self {
        let (complete, incomplete): (Vec<_>, Vec<_>) = nightlies()
            .into_iter()
            .partition(|toolchain| has_source(toolchain));
        let system = Path::new(SYSTEM_RUSTC);
        Self {
            nightly: complete.first().and_then(|toolchain| name(toolchain)),
            nightly_without_source: incomplete.first().and_then(|toolchain| name(toolchain)),
            system_rustc: (system.is_file() && has_core(Path::new(SYSTEM_CORE))).then(|| system.to_owned()),
            linker: search::programs("bpf-linker").find(|linker| runs(linker)),
        }
    }

    /// What of a toolchain there is, of whichever kind.
    pub fn found(&self) -> Toolchain {
        Toolchain {
            compiler: self.nightly.is_some() || self.system_rustc.is_some(),
            linker: self.linker.is_some(),
        }
    }
}

/// The nightly toolchains of rustup, the undated one first.
fn nightlies() -> Vec<PathBuf> {
    let entries = search::rustup_home().and_then(|home| fs::read_dir(home.join("toolchains")).ok());
    let mut found: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| name(path).is_some_and(|name| name.starts_with("nightly")))
        .collect();
    found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    found
}

fn name(toolchain: &Path) -> Option<String> {
    Some(toolchain.file_name()?.to_str()?.to_owned())
}

fn has_source(toolchain: &Path) -> bool {
    toolchain
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
}

fn has_core(directory: &Path) -> bool {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            let file = entry.file_name();
            file.to_str().is_some_and(|file| file.starts_with("libcore-"))
        })
}

fn runs(linker: &Path) -> bool {
    ask(Command::new(linker).arg("--version")).is_some()
}

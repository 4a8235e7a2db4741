//! Finding programs: on `PATH`, then where `cargo install` puts them.

use std::env;
use std::path::{Path, PathBuf};

/// The executables of this name, the first one first.
pub fn programs(name: &str) -> impl Iterator<Item = PathBuf> {
    directories()
        .into_iter()
        .map(move |dir| dir.join(name))
        .filter(|file| is_executable(file))
}

/// Whether there is an executable of this name.
pub fn has_program(name: &str) -> bool {
    programs(name).next().is_some()
}

/// Cargo's own directory: `CARGO_HOME`, or `.cargo` at home.
fn cargo_home() -> Option<PathBuf> {
    set("CARGO_HOME").or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// Rustup's own directory: `RUSTUP_HOME`, or `.rustup` at home.
pub fn rustup_home() -> Option<PathBuf> {
    set("RUSTUP_HOME").or_else(|| Some(env::home_dir()?.join(".rustup")))
}

fn directories() -> Vec<PathBuf> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let installed = [set("CARGO_INSTALL_ROOT"), cargo_home()];
    let installed = installed.into_iter().flatten().map(|root| root.join("bin"));
    env::split_paths(&on_path).chain(installed).collect()
}

fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

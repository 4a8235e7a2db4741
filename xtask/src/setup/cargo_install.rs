//! Tools that cargo installs.

use std::path::Path;

use anyhow::Result;

use crate::environment;
use crate::run::run;
use crate::search;
use crate::workspace::Workspace;

/// The LLVM that bpf-linker is built with: the one of the compiler, see [`super::package`].
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// What [`bpf_linker`] runs.
pub const BPF_LINKER: &str = "LLVM_PREFIX=/usr/lib/llvm-22 LLVM_SYS_221_PREFIX=/usr/lib/llvm-22 \
     cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22";

/// Installs bpf-linker where cargo installs programs.
pub fn bpf_linker(workspace: &Workspace) -> Result<()> {
    let mut install = workspace.kernel_half(&environment::cargo());
    install.args([
        "install",
        "bpf-linker",
        "--version",
        "0.13.0",
        "--locked",
        "--force",
    ]);
    install.args(["--no-default-features", "--features", "llvm-22"]);
    if Path::new(LLVM_PREFIX).is_dir() {
        // Without the first it asks whichever llvm-config it finds; the second is for llvm-sys.
        install
            .env("LLVM_PREFIX", LLVM_PREFIX)
            .env("LLVM_SYS_221_PREFIX", LLVM_PREFIX);
    }
    run(&mut install)
}

/// Installs cargo-deny where cargo installs programs, unless there is one.
pub fn ensure_cargo_deny(workspace: &Workspace) -> Result<()> {
    if search::has_program("cargo-deny") {
        return Ok(());
    }
    println!("missing:\n  cargo-deny               checks licences, sources and duplicates of dependencies");
    let mut install = workspace.kernel_half(&environment::cargo());
    install.args(["install", "cargo-deny", "--version", "0.20.2", "--locked"]);
    run(&mut install)
}

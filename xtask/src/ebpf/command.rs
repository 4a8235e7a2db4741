//! The command that builds the kernel half.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::TARGET;
use super::toolchain::{Choice, Compiler};
use crate::environment;
use crate::workspace::Workspace;

/// Builds with the chosen toolchain, in an environment that nothing of the host half reaches.
pub fn build(choice: &Choice, workspace: &Workspace) -> Command {
    let mut cargo = match &choice.compiler {
        Compiler::Rustup { toolchain } => {
            let mut rustup = workspace.kernel_half(OsStr::new("rustup"));
            rustup.args(["run", toolchain, "cargo", "-Zbuild-std=core"]);
            rustup
        }
        Compiler::System { rustc } => {
            let mut cargo = workspace.kernel_half(&environment::cargo());
            // Core is prebuilt; what is left of the unstable is the target.
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            cargo
        }
    };
    cargo
        .args([
            "build",
            "--release",
            "--package",
            "mesh-ebpf",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(workspace.ebpf_target())
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&choice.linker));
    cargo
}

/// They reach the kernel target only. The `cfg`s of aya come from its build scripts.
fn rustflags(linker: &Path) -> String {
    let linker = format!("-Clinker={}", linker.display());
    [
        linker.as_str(),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // Otherwise LLVM calls memset for the smallest value: byte by byte, and adding to an address in a loop, which the
        // verifier takes for a leak by speculation where there is no CAP_PERFMON.
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ]
    .join("\x1f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_one_string_for_cargo() {
        assert_eq!(
            rustflags(Path::new("/bin/bpf-linker")),
            "-Clinker=/bin/bpf-linker\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf\x1f-Clink-arg=--disable-expand-memcpy-in-order"
        );
    }
}

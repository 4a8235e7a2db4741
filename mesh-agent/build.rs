//! Finds the kernel programs that `cargo xtask build-ebpf` built, to be embedded in the agent.
//!
//! Where they are missing the crate can still be checked, linted and documented; only generating code for
//! the agent fails (see `datapath::object`).

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(mesh_object)");
    println!("cargo::rerun-if-env-changed=MESH_EBPF_OBJECT");
    let candidates = candidates();
    let found = candidates.iter().find(|path| path.is_file());
    if let Some(path) = found {
        println!("cargo::rustc-cfg=mesh_object");
        println!("cargo::rustc-env=MESH_EBPF_OBJECT_PATH={}", path.display());
    }
    // A path that is missing makes cargo ask again at every build, which is wanted only until there is one.
    if let Some(path) = found.or(candidates.last()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// Where the object may lie, best first.
fn candidates() -> Vec<PathBuf> {
    let given = env::var_os("MESH_EBPF_OBJECT").map(PathBuf::from);
    // OUT_DIR is <target>/<profile>/build/<package>/out, or one deeper with --target.
    let target = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    let beside = target
        .ancestors()
        .skip(4)
        .take(2)
        .map(|dir| dir.join("bpf/mesh-ebpf.o"))
        .collect::<Vec<_>>();
    let workspace = env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    given
        .into_iter()
        .chain(beside)
        .chain([workspace.join("../target/bpf/mesh-ebpf.o")])
        .collect()
}

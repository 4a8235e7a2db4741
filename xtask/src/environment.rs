//! What is inherited from `cargo xtask` must not steer the builds it starts.

use std::env;
use std::ffi::OsString;
use std::process::Command;

/// The cargo that runs this program, or the one on `PATH`.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Removes the inherited variables that `unwanted` names.
pub fn clear(command: &mut Command, unwanted: fn(&str) -> bool) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(unwanted) {
            command.env_remove(name);
        }
    }
}

/// Set by `cargo run` to describe this very program.
pub fn describes_this_program(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Chooses a compiler, a target or flags. Where crates come from and how cargo reaches them is left alone.
pub fn steers_a_build(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "CARGO",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
        "CARGO_ENCODED_RUSTFLAGS",
    ];
    const PREFIXES: [&str; 4] = [
        "CARGO_BUILD_",
        "CARGO_TARGET_",
        "CARGO_PROFILE_",
        "CARGO_UNSTABLE_",
    ];
    describes_this_program(name)
        || NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_picks_a_compiler_is_cleared() {
        for name in [
            "RUSTUP_TOOLCHAIN",
            "CARGO",
            "RUSTC",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
        ] {
            assert!(steers_a_build(name), "{name}");
        }
    }

    #[test]
    fn where_crates_come_from_is_kept() {
        for name in [
            "CARGO_HOME",
            "RUSTUP_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "PATH",
            "HOME",
        ] {
            assert!(!steers_a_build(name), "{name}");
        }
    }

    #[test]
    fn the_host_half_keeps_the_flags_of_its_user() {
        assert!(!describes_this_program("RUSTFLAGS"));
        assert!(!describes_this_program("CARGO_TARGET_DIR"));
        assert!(describes_this_program("CARGO_PKG_NAME"));
    }
}

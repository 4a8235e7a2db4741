//! What to type, when nothing is installed by itself.

use super::package::{self, Purpose};
use super::plan::Toolchain;
use super::{apt, cargo_install};
use crate::ebpf::Kind;

/// How to complete a kernel toolchain: of the kind wished for, or the one that suits this machine.
pub fn advice(wish: Option<Kind>, found: Toolchain) -> String {
    let by_itself = match wish {
        None => " (`cargo xtask setup toolchain` does)",
        Some(_) => "",
    };
    let commands = match wish.unwrap_or_else(suitable) {
        Kind::Debian => debian(found),
        Kind::Rustup => rustup(found),
    };
    format!(
        "install what is missing{by_itself}:\n    {}",
        commands.join("\n    ")
    )
}

fn suitable() -> Kind {
    if apt::knows(package::COMPILER) {
        Kind::Debian
    } else {
        Kind::Rustup
    }
}

fn debian(found: Toolchain) -> Vec<String> {
    let mut purposes = Vec::new();
    let mut commands = Vec::new();
    if !found.compiler {
        purposes.push(Purpose::Compiler);
    }
    if !found.linker {
        purposes.push(Purpose::Linker);
        commands.push(cargo_install::BPF_LINKER.to_owned());
    }
    commands.insert(0, apt::shown(&package::names(&purposes)));
    commands
}

fn rustup(found: Toolchain) -> Vec<String> {
    let mut commands = Vec::new();
    if !found.compiler {
        commands.push("rustup toolchain install nightly --component rust-src".to_owned());
    }
    if !found.linker {
        let hint = "needs LLVM: https://github.com/aya-rs/bpf-linker#installation";
        commands.push(format!("cargo install bpf-linker    # {hint}"));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_advised() {
        let no_linker = Toolchain {
            compiler: true,
            linker: false,
        };
        let text = advice(Some(Kind::Debian), no_linker);
        assert!(text.contains("llvm-22-dev") && text.contains("cargo install bpf-linker"));
        assert!(!text.contains("rustc-web"));
        assert!(!advice(Some(Kind::Rustup), no_linker).contains("rustup toolchain"));
    }

    #[test]
    fn a_compiler_comes_from_where_it_was_wished_from() {
        let no_compiler = Toolchain {
            compiler: false,
            linker: true,
        };
        assert_eq!(
            advice(Some(Kind::Rustup), no_compiler),
            "install what is missing:\n    rustup toolchain install nightly --component rust-src"
        );
        assert!(
            advice(Some(Kind::Debian), no_compiler)
                .contains("apt-get install --no-install-recommends rustc-web")
        );
    }
}

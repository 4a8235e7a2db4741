//! The shared libraries of a program, and the loader that finds them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::ask;

/// Paths of all of them, as the loader of this machine resolves them. A program for another machine has none that
/// could be asked for.
pub fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let listing = ask(Command::new("ldd").arg(program).env_remove("LD_PRELOAD"));
    let listing =
        listing.with_context(|| format!("ldd cannot list the libraries of {}", program.display()))?;
    parse(&listing).with_context(|| program.display().to_string())
}

/// Lines are `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)` for the loader, or `NAME (ADDRESS)` for what the kernel
/// brings.
fn parse(listing: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in listing.lines().map(str::trim) {
        let (name, found) = line.split_once(" => ").unwrap_or((line, line));
        if found.starts_with("not found") {
            bail!("the library {name} is not on this machine");
        }
        let path = found.split_once(" (").map_or(found, |(path, _)| path);
        if path.starts_with('/') {
            paths.push(path.into());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_one_of_them_and_the_kernels_is_none() {
        let listing = "\tlinux-vdso.so.1 (0x00007f69c84c7000)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f69c673e000)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f69c84c9000)\n";
        let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse(listing).unwrap(), paths.map(PathBuf::from));
        assert_eq!(parse("\tstatically linked\n").unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn one_that_is_missing_is_named() {
        let error = parse("\tlibssl.so.3 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libssl.so.3"), "{error}");
    }

    #[test]
    fn this_very_program_has_a_libc() {
        let paths = of(&std::env::current_exe().unwrap()).unwrap();
        assert!(paths.iter().any(|path| path.ends_with("libc.so.6")), "{paths:?}");
        assert!(paths.iter().all(|path| path.is_file()));
    }
}

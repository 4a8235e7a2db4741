//! Where the standard library for arm64 is, or comes from.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::TARGET;
use crate::run::{ask, run};
use crate::workspace::Workspace;

const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const PACKAGE: &str = "libstd-rust-web-dev";

/// The standard library for arm64.
#[derive(Debug, PartialEq, Eq)]
pub enum Library {
    /// The toolchain in use has it.
    Own,
    /// Another rustc has it.
    System {
        /// That rustc.
        rustc: PathBuf,
        /// Where it is, when not where that rustc looks.
        sysroot: Option<PathBuf>,
    },
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the toolchain's own"),
            Self::System { rustc, sysroot: None } => write!(f, "that of {}", rustc.display()),
            Self::System {
                sysroot: Some(sysroot),
                ..
            } => write!(f, "Debian's, in {}", sysroot.display()),
        }
    }
}

/// Finds it, or fetches Debian's package for arm64 and unpacks it below the target directory: it is not
/// installed, and the architectures that dpkg and apt know of this machine stay what they are.
pub fn find(workspace: &Workspace) -> Result<Library> {
    let own = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    if let Some(sysroot) = ask(Command::new(own).args(["--print", "sysroot"]))
        && is_in(Path::new(sysroot.trim()))
    {
        return Ok(Library::Own);
    }
    let rustc = PathBuf::from(SYSTEM_RUSTC);
    if !rustc.is_file() {
        bail!("the toolchain has no library for it; with rustup: rustup target add {TARGET}");
    }
    if is_in(Path::new("/usr")) {
        return Ok(Library::System { rustc, sysroot: None });
    }
    let version = ask(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "rustc-web"]))
        .with_context(|| format!("{SYSTEM_RUSTC} is not Debian's rustc-web"))?;
    let place = workspace.target().join("cross/debian").join(version.trim());
    let sysroot = place.join("unpacked/usr");
    if !is_in(&sysroot) {
        fetch(&place, version.trim())?;
    }
    Ok(Library::System {
        rustc,
        sysroot: Some(sysroot),
    })
}

fn is_in(sysroot: &Path) -> bool {
    let libraries = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib"));
    libraries.into_iter().flatten().flatten().any(|entry| {
        let file = entry.file_name();
        file.to_str().is_some_and(|file| file.starts_with("libstd-"))
    })
}

/// With lists, cache and state of its own, apt takes this for a machine of the other architecture.
fn fetch(place: &Path, version: &str) -> Result<()> {
    println!(
        "fetching {PACKAGE} for arm64 into {} (nothing is installed)",
        place.display()
    );
    let apt = place.join("apt");
    for dir in ["lists/partial", "cache/archives/partial"] {
        let dir = apt.join(dir);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    run(apt_get(place).arg("update"))?;
    run(apt_get(place).args(["download", &format!("{PACKAGE}={version}")]))?;
    let package = fs::read_dir(place)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded nothing")?;
    // Unpacked elsewhere first: what is interrupted is begun anew.
    let draft = place.join("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&draft))?;
    fs::rename(&draft, place.join("unpacked"))?;
    fs::remove_dir_all(apt)?;
    Ok(())
}

fn apt_get(place: &Path) -> Command {
    let apt = place.join("apt");
    let mut command = Command::new("apt-get");
    command.arg("--quiet").current_dir(place);
    for (option, value) in [
        ("Dir::State::lists", apt.join("lists")),
        ("Dir::Cache", apt.join("cache")),
        ("Dir::State::status", PathBuf::from("/dev/null")),
        ("APT::Architecture", "arm64".into()),
        ("APT::Architectures", "arm64".into()),
        ("APT::Sandbox::User", "root".into()),
        ("Acquire::Languages", "none".into()),
    ] {
        command
            .arg("--option")
            .arg(format!("{option}={}", value.display()));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_one_that_has_std() {
        let sysroot = tempfile::tempdir().unwrap();
        let lib = sysroot.path().join("lib/rustlib").join(TARGET).join("lib");
        assert!(!is_in(sysroot.path()));
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libcore-1.rlib"), "").unwrap();
        assert!(!is_in(sysroot.path()));
        fs::write(lib.join("libstd-1.rlib"), "").unwrap();
        assert!(is_in(sysroot.path()));
    }

    #[test]
    fn apt_touches_nothing_of_the_machine() {
        let command = apt_get(Path::new("/t"));
        let args: Vec<_> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        for own in ["Dir::State::lists=/t/apt/lists", "Dir::Cache=/t/apt/cache"] {
            assert!(args.contains(&own), "{args:?}");
        }
    }
}

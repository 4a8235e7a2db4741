//! Debian packages.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::clusters::HeldClusters;
use super::package::DATABASE_COMMON;
use super::services::HeldServices;
use crate::interrupt::Interrupted;
use crate::run::{ask, run};
use crate::search;

/// The packages on this machine; nothing where there is no dpkg.
pub fn installed() -> Result<Option<BTreeSet<String>>> {
    if !search::has_program("dpkg-query") {
        return Ok(None);
    }
    let listing = ["-W", "-f", "${Package} ${db:Status-Status}\n"];
    match ask(Command::new("dpkg-query").args(listing)) {
        Some(listing) => Ok(Some(parse(&listing))),
        None => bail!("dpkg-query cannot list the packages of this machine"),
    }
}

/// Whether apt could install this package, as far as its lists tell.
pub fn knows(package: &str) -> bool {
    ask(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
        .is_some_and(|answer| answer.contains("Package:"))
}

/// Installs packages without starting a service or making a database cluster. The lists are fetched once when
/// they turn out too old.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    require_root(packages)?;
    let _services = HeldServices::hold()?;
    if packages.contains(&DATABASE_COMMON) {
        // On its own: it brings the file that the next step holds.
        install_held(&[DATABASE_COMMON])?;
    }
    let _clusters = HeldClusters::hold()?;
    install_held(packages)
}

fn install_held(packages: &[&str]) -> Result<()> {
    match run(&mut install_command(packages)) {
        Err(error) if !error.is::<Interrupted>() => {
            update()?;
            run(&mut install_command(packages))
        }
        done => done,
    }
}

/// The packages that apt knows whose name matches this regular expression; the lists are fetched when none does.
pub fn search(pattern: &str) -> Vec<String> {
    let search = || {
        let found = ask(Command::new("apt-cache").args(["search", "--names-only", pattern]));
        names(&found.unwrap_or_default())
    };
    let found = search();
    if found.is_empty() && may_update() && update().is_ok() {
        return search();
    }
    found
}

/// Downloads packages into a directory, without installing them. The lists are fetched once when they turn out too old.
pub fn download(packages: &[&str], directory: &Path) -> Result<()> {
    let download = || {
        let mut command = apt_get();
        // Its own user may not be let into the directory.
        command.args(["--option", "APT::Sandbox::User=root", "download"]);
        run(command.args(packages).current_dir(directory))
    };
    match download() {
        Err(error) if !error.is::<Interrupted>() && may_update() => {
            update()?;
            download()
        }
        done => done,
    }
}

fn may_update() -> bool {
    rustix::process::geteuid().is_root()
}

/// An error that says what root has to run, unless this is root.
pub fn require_root(packages: &[&str]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "installing packages needs root; run as root:\n    {}",
            shown(packages)
        );
    }
    Ok(())
}

/// Fetches the lists of packages.
pub fn update() -> Result<()> {
    run(apt_get().arg("update"))
}

/// The command to type for these packages.
pub fn shown(packages: &[&str]) -> String {
    format!("apt-get install --no-install-recommends {}", packages.join(" "))
}

fn install_command(packages: &[&str]) -> Command {
    let mut command = apt_get();
    command
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages);
    command
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet", "--option", "DPkg::Lock::Timeout=120"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Maintainer scripts start nothing in single-user mode, where init scripts ask for the runlevel.
        .env("RUNLEVEL", "1");
    command
}

/// `apt-cache search` says `name - what it is`.
fn names(found: &str) -> Vec<String> {
    let names = found.lines().filter_map(|line| line.split_once(" - "));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn parse(listing: &str) -> BTreeSet<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_packages_are() {
        assert_eq!(
            names("linux-image-6.1.0-56-amd64 - Linux 6.1 for 64-bit PCs (signed)\n"),
            ["linux-image-6.1.0-56-amd64"]
        );
        assert!(names("").is_empty());
    }

    #[test]
    fn only_installed_packages_count() {
        let installed =
            parse("curl installed\nwrk config-files\nlibc6-dev installed\nnginx-light not-installed\n");
        assert_eq!(
            installed,
            BTreeSet::from(["curl".to_owned(), "libc6-dev".to_owned()])
        );
    }
}

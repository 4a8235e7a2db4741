//! What a test may need of its machine, for [`require!`](crate::require!).

use std::fs;

use crate::cgroup;

/// Root, and a cgroup2 mount.
pub fn root() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".into());
    }
    cgroup::mount_point().map(drop).map_err(|error| error.to_string())
}

/// A program in the path.
pub fn program(name: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    that(found, &format!("the program {name}"))
}

/// All of these programs in the path.
pub fn programs(names: &[&str]) -> Result<(), String> {
    names.iter().try_for_each(|name| program(name))
}

/// A kernel of this version or later.
pub fn kernel(major: u32, minor: u32) -> Result<(), String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    if version(&release) >= Some((major, minor)) {
        return Ok(());
    }
    Err(format!("needs Linux {major}.{minor}, this is {}", release.trim()))
}

/// Any other fact, with what is missing in words.
pub fn that(fact: bool, missing: &str) -> Result<(), String> {
    if fact {
        Ok(())
    } else {
        Err(format!("needs {missing}"))
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("6.1.0-37-amd64\n"), Some((6, 1)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert!(version("6.6.1") > Some((6, 1)));
    }
}

//! Mounts: what is mounted where, and the file systems of a sandbox.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

/// One line of `/proc/thread-self/mountinfo`.
#[derive(Debug)]
pub struct Mount {
    /// Which directory of the file system is mounted.
    pub root: String,
    /// Where.
    pub point: PathBuf,
    /// Kind of file system.
    pub kind: String,
}

/// All mounts that the calling thread sees.
pub fn list() -> Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").context("reading mountinfo")?;
    Ok(text.lines().filter_map(parse).collect())
}

/// Fields: id, parent, device, root, mount point, options, optional fields, `-`, kind, source.
fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    Some(Mount {
        root: left.next()?.to_owned(),
        point: unescape(left.next()?).into(),
        kind: right.split(' ').next()?.to_owned(),
    })
}

/// The kernel writes white space and backslashes of a path as three octal digits.
fn unescape(path: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"]
        .iter()
        .fold(path.to_owned(), |path, escape| {
            path.replace(&escape[..4], &escape[4..])
        })
}

/// Mounts a new file system of `kind` that propagates nowhere.
pub fn mount_private(kind: &str, point: &Path) -> Result<()> {
    fs::create_dir_all(point).with_context(|| format!("creating {}", point.display()))?;
    mount(
        kind,
        point,
        kind,
        MountFlags::NOSUID | MountFlags::NODEV,
        None::<&CStr>,
    )
    .with_context(|| format!("mounting {kind} on {}", point.display()))?;
    mount_change(point, MountPropagationFlags::PRIVATE)
        .with_context(|| format!("making {} private", point.display()))
}

/// Unmounts with everything below, now if idle, else when the last user is gone.
pub fn detach(point: &Path) -> Result<()> {
    unmount(point, UnmountFlags::DETACH).with_context(|| format!("unmounting {}", point.display()))
}

#[cfg(test)]
mod tests {
    use super::{parse, unescape};

    #[test]
    fn line_with_and_without_optional_fields() {
        for line in [
            "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
            "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 master:1 - cgroup2 cgroup2 rw",
        ] {
            let mount = parse(line).expect("a mount");
            assert_eq!(mount.point.to_str(), Some("/sys/fs/cgroup/unified"));
            assert_eq!((mount.root.as_str(), mount.kind.as_str()), ("/", "cgroup2"));
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
    }
}

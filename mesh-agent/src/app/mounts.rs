//! Finds the cgroup2 mount: `/sys/fs/cgroup` on most hosts, `/sys/fs/cgroup/unified` on hybrid ones.

use std::{fs, io, path::PathBuf};

/// The mount point of the cgroup2 hierarchy.
///
/// # Errors
/// Where `/proc/self/mountinfo` can't be read or lists none.
pub fn cgroup2() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    find_cgroup2(&mounts).ok_or_else(|| {
        io::Error::other("no cgroup2 filesystem is mounted: mount one with `mount -t cgroup2 none DIR` and name it with --cgroup")
    })
}

/// `proc_pid_mountinfo(5)`: the mount point is the fifth field, the type the first after the separator.
fn find_cgroup2(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        let is_root = fields.split(' ').nth(3)? == "/";
        (rest.split(' ').next()? == "cgroup2" && is_root).then(|| fields.split(' ').nth(4).map(unescape))?
    })
}

/// Space, tab, newline and backslash are written as octal escapes.
fn unescape(field: &str) -> PathBuf {
    let text = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    text.iter()
        .fold(field.to_owned(), |path, (escape, plain)| {
            path.replace(escape, plain)
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_unified_and_hybrid_mounts() {
        let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(find_cgroup2(unified), Some("/sys/fs/cgroup".into()));
        let hybrid = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 none rw\n";
        assert_eq!(find_cgroup2(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find_cgroup2("31 30 0:27 / /x rw - cgroup cgroup rw,cpu\n"), None);
    }
}

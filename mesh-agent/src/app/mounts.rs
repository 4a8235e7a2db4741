//! Finds the cgroup2 hierarchy: `/sys/fs/cgroup` on most hosts, `/sys/fs/cgroup/unified` on hybrid ones.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2: i64 = 0x6367_7270;

/// The cgroup whose sockets the programs are to see: the directory that was named, or what is mounted.
///
/// # Errors
/// Where the directory is no cgroup2 and has none below it, or none is mounted.
pub fn cgroup(named: Option<&Path>) -> io::Result<PathBuf> {
    match named {
        Some(dir) => choose(dir, is_cgroup2),
        None => cgroup2(),
    }
}

/// Hybrid hosts mount the hierarchies of version 1 where others mount version 2, and that below it.
fn choose(dir: &Path, is_cgroup2: impl Fn(&Path) -> io::Result<bool>) -> io::Result<PathBuf> {
    let failed = |error| {
        let dir = dir.display();
        io::Error::other(format!("{dir}: {error}: name a cgroup2 directory with --cgroup"))
    };
    if is_cgroup2(dir).map_err(failed)? {
        return Ok(dir.to_path_buf());
    }
    let unified = dir.join("unified");
    if is_cgroup2(&unified).unwrap_or(false) {
        return Ok(unified);
    }
    let dir = dir.display();
    Err(io::Error::other(format!(
        "{dir} is no cgroup2 directory, and neither is {dir}/unified: name one with --cgroup"
    )))
}

fn is_cgroup2(dir: &Path) -> io::Result<bool> {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the type of the field is the architecture's"
    )]
    let kind = rustix::fs::statfs(dir)?.f_type as i64;
    Ok(kind == CGROUP2)
}

/// The mount point of the cgroup2 hierarchy.
///
/// # Errors
/// Where `/proc/self/mountinfo` can't be read or lists none, or what is mounted is a container's part of it.
pub fn cgroup2() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let dir = find_cgroup2(&mounts).ok_or_else(|| {
        io::Error::other("no cgroup2 filesystem is mounted: mount one with `mount -t cgroup2 none DIR` and name it with --cgroup")
    })?;
    // A cgroup namespace shows its part of the hierarchy as the whole; but every cgroup other than the root has a
    // type (Documentation/admin-guide/cgroup-v2.rst).
    if dir.join("cgroup.type").exists() {
        return Err(io::Error::other(format!(
            "{} is a container's part of the hierarchy: mount the host's and name it with --cgroup",
            dir.display()
        )));
    }
    Ok(dir)
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
        // The host's hierarchy, mounted into a container with a cgroup namespace of its own: --cgroup names it.
        let container = "32 30 0:26 /../../.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(find_cgroup2(container), None);
        assert_eq!(find_cgroup2("31 30 0:27 / /x rw - cgroup cgroup rw,cpu\n"), None);
    }

    #[test]
    fn of_a_hybrid_host_the_unified_hierarchy_is_taken() {
        let v2 = |dirs: &'static [&str]| {
            move |dir: &Path| match dir.to_str() {
                Some("/none" | "/none/unified") => Err(io::Error::from(io::ErrorKind::NotFound)),
                name => Ok(name.is_some_and(|name| dirs.contains(&name))),
            }
        };
        let chosen = |dir: &str, dirs| choose(Path::new(dir), v2(dirs)).map_err(|error| error.to_string());
        assert_eq!(chosen("/cg", &["/cg", "/cg/unified"]), Ok("/cg".into()));
        assert_eq!(chosen("/cg", &["/cg/unified"]), Ok("/cg/unified".into()));
        assert!(chosen("/cg", &["/other"]).unwrap_err().contains("--cgroup"));
        assert!(chosen("/none", &[]).unwrap_err().starts_with("/none: "));
    }

    #[test]
    fn other_filesystems_are_told_apart() {
        assert!(!is_cgroup2(Path::new("/proc")).unwrap());
        assert!(cgroup(Some(Path::new("/proc"))).is_err());
        if let Ok(mounted) = cgroup2() {
            assert!(is_cgroup2(&mounted).unwrap());
        }
    }
}

//! Whether this machine can run the mesh.

use std::path::Path;

use super::{cgroups, mounts};

/// The oldest kernel the programs are made for.
const OLDEST: (u32, u32) = (6, 1);
/// The kernel's type information.
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// What was found of a machine.
#[derive(Clone, Debug)]
pub struct Host {
    root: bool,
    release: String,
    types: bool,
    cgroup2: bool,
}

impl Host {
    /// Looks at this one.
    pub fn look() -> Self {
        let release = rustix::system::uname();
        Self {
            root: rustix::process::geteuid().is_root(),
            release: release.release().to_string_lossy().into_owned(),
            types: Path::new(TYPES).exists(),
            cgroup2: mounts().is_ok_and(|mounts| cgroups(&mounts).is_some()),
        }
    }

    /// The first thing that is missing, in words.
    pub fn lack(&self) -> Option<String> {
        if !self.root {
            return Some("it needs root: it makes network namespaces and loads kernel programs".into());
        }
        if version(&self.release) < Some(OLDEST) {
            let (major, minor) = OLDEST;
            return Some(format!(
                "it needs Linux {major}.{minor} or newer, this is {}",
                self.release
            ));
        }
        if !self.types {
            return Some(format!(
                "the kernel does not show its types: no {TYPES} (CONFIG_DEBUG_INFO_BTF)"
            ));
        }
        if !self.cgroup2 {
            return Some("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup".into());
        }
        None
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Host {
        Host {
            root: true,
            release: "6.1.0-37-amd64".into(),
            types: true,
            cgroup2: true,
        }
    }

    #[test]
    fn a_machine_with_everything_lacks_nothing() {
        assert_eq!(good().lack(), None);
    }

    #[test]
    fn the_first_lack_is_one_line() {
        let lacks = [
            Host {
                root: false,
                types: false,
                ..good()
            },
            Host {
                release: "5.15.0".into(),
                ..good()
            },
            Host {
                release: "odd".into(),
                ..good()
            },
            Host {
                types: false,
                ..good()
            },
            Host {
                cgroup2: false,
                ..good()
            },
        ];
        let beginnings = [
            "it needs root",
            "it needs Linux 6.1",
            "it needs Linux",
            "the kernel does not",
            "no cgroup2",
        ];
        for (host, beginning) in lacks.iter().zip(beginnings) {
            let lack = host.lack().expect("a lack");
            assert!(lack.starts_with(beginning) && !lack.contains('\n'), "{lack}");
        }
    }
}

//! What there is of a sandbox: for tests that say that nothing is left behind.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Result;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{cgroup, mounts};

/// Everything found of a sandbox, in order of name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The sandbox's cgroup and those below.
    pub cgroups: Vec<PathBuf>,
    /// Mounts at and below its run directory.
    pub mounts: Vec<PathBuf>,
    /// Interfaces of the node's network namespace, but `lo`.
    pub links: Vec<String>,
    /// Pins in its BPF filesystem.
    pub pins: Vec<PathBuf>,
    /// Files of the agent's run directory.
    pub files: Vec<PathBuf>,
}

impl Census {
    /// Whether nothing was found at all, as after the end of the sandbox.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Knows where to look, also when the sandbox is gone.
#[derive(Clone, Debug)]
pub struct Witness {
    run: PathBuf,
    cgroup: PathBuf,
}

impl Witness {
    pub(crate) fn new(run: &Path, cgroup: &Path) -> Self {
        Self {
            run: run.into(),
            cgroup: cgroup.into(),
        }
    }

    /// Looks.
    pub fn census(&self) -> Result<Census> {
        let mut mounts: Vec<_> = mounts::list()?.into_iter().map(|mount| mount.point).collect();
        mounts.retain(|point| point.starts_with(&self.run));
        let mut census = Census {
            cgroups: cgroup::tree(&self.cgroup),
            mounts,
            links: self.links()?,
            pins: pins(&self.run.join("bpf")),
            files: files(&self.run.join("agent")),
        };
        census.cgroups.sort();
        census.mounts.sort();
        census.links.sort();
        Ok(census)
    }

    fn links(&self) -> Result<Vec<String>> {
        let Ok(node) = fs::File::open(self.run.join("netns/node")) else {
            return Ok(Vec::new());
        };
        let look = || -> io::Result<String> {
            move_into_link_name_space(node.as_fd(), Some(LinkNameSpaceType::Network))?;
            fs::read_to_string("/proc/thread-self/net/dev")
        };
        let text = thread::scope(|scope| scope.spawn(look).join());
        let text = text.map_err(|_| io::Error::other("the thread panicked"))??;
        let names = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim());
        Ok(names.filter(|name| *name != "lo").map(str::to_owned).collect())
    }
}

/// The kernel puts two listings of its own into every BPF filesystem.
fn pins(bpffs: &Path) -> Vec<PathBuf> {
    let listings = ["maps.debug", "progs.debug"].map(|name| bpffs.join(name));
    let mut found = files(bpffs);
    found.retain(|path| !listings.contains(path));
    found
}

/// All that are no directories at and below `dir`, sorted.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let below = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        _ => vec![entry.path()],
    };
    let mut found: Vec<_> = entries.flatten().flat_map(below).collect();
    found.sort();
    found
}

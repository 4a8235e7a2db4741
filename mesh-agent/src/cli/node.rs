//! The node as the commands read it.

use std::{
    fs, io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use mesh_common::flow::LiveFlow;
use serde::Serialize;

use super::{agent::Agent, failure::Failure, held::Held};
use crate::{
    app::{config, mounts, names::Names, sockets::unobserved},
    datapath::{
        hooks::HOOKS,
        links::{Cgroup, LinkError},
        listing,
        pins::Pins,
        readings::Readings,
        tables::{TableError, Tables},
    },
    pods::unobserved::Unobserved,
    sys::{
        bpf::{self, Target},
        netns::Host,
    },
};

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Node {
    /// The pins.
    pub pins: Pins,
    /// The agent.
    pub agent: Agent,
    place: config::Place,
}

impl Node {
    /// The node of an agent that keeps its things in `place`.
    pub fn new(place: config::Place) -> Self {
        Self {
            pins: Pins::new(&place.bpffs),
            agent: Agent::new(&place.run_dir),
            place,
        }
    }

    /// The mount point of the BPF filesystem.
    pub fn bpffs(&self) -> &Path {
        &self.place.bpffs
    }

    /// Where the agent keeps its things.
    pub const fn place(&self) -> &config::Place {
        &self.place
    }

    /// Where the host's interfaces are.
    pub fn host(&self) -> io::Result<Host> {
        Host::open(self.place.host_netns.as_deref()).map_err(io::Error::other)
    }

    /// The cgroup2 hierarchy, or the directory of it that was named.
    pub fn cgroup2(&self) -> io::Result<PathBuf> {
        mounts::cgroup(self.place.cgroup.as_deref())
    }

    /// The agent's runtime directory.
    pub fn run_dir(&self) -> &Path {
        &self.place.run_dir
    }

    /// Opens the tables.
    pub fn tables(&self) -> Result<Tables, Failure> {
        Tables::open(&self.pins).map_err(|error| self.unreadable(&error))
    }

    /// Opens the totals that the programs keep.
    pub fn readings(&self) -> Result<Readings, Failure> {
        Readings::open(&self.pins).map_err(|error| self.unreadable(&error))
    }

    /// Reads the tables and the names.
    pub fn held(&self) -> Result<Held, Failure> {
        self.held_in(&self.tables()?)
    }

    /// Reads the names and tables that are open already.
    pub fn held_in(&self, tables: &Tables) -> Result<Held, Failure> {
        let observed = tables.observe().map_err(|error| self.unreadable(&error))?;
        Ok(Held::new(observed, self.names(), self.unobserved()))
    }

    /// The names behind the ids. They are a convenience: where they can't be read, ids are shown.
    pub fn names(&self) -> Names {
        Names::load(&self.place.run_dir).unwrap_or_else(|error| {
            let dir = self.place.run_dir.display();
            eprintln!("meshctl: warning: the names in {dir} can't be read, so ids are shown: {error}");
            Names::default()
        })
    }

    /// The sockets that nobody observes: like the names, a convenience.
    fn unobserved(&self) -> Unobserved {
        unobserved::load(&self.place.run_dir).unwrap_or_else(|error| {
            let dir = self.place.run_dir.display();
            eprintln!("meshctl: warning: the note of unobserved sockets in {dir} can't be read: {error}");
            Unobserved::default()
        })
    }

    /// Connections that live now.
    pub fn flows(&self) -> Result<Vec<LiveFlow>, Failure> {
        listing::read(&self.pins).map_err(|error| Failure::listing(&error, self.pins.root()))
    }

    /// The failure for a table that can't be read.
    pub fn unreadable(&self, error: &TableError) -> Failure {
        Failure::table(error, self.pins.root())
    }
}

/// The cgroup whose sockets the programs should see.
#[derive(Debug)]
pub struct Place {
    /// The cgroup.
    pub cgroup: Cgroup,
    /// How it is known.
    pub known: Known,
}

/// How the cgroup is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Known {
    /// The agent noted it.
    Noted,
    /// The agent left no note, but links that are attached to it.
    ByLink,
    /// There is neither: the root, which is the default.
    Assumed,
}

impl Known {
    /// What must be said beside the path.
    pub const fn remark(self) -> &'static str {
        match self {
            Self::Noted => "",
            Self::ByLink => " (the agent left no note: told by its links)",
            Self::Assumed => " (assumed: the agent left neither a note nor a link)",
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.cgroup.path().display(), self.known.remark())
    }
}

/// The cgroup the agent noted, else the one its links are attached to, else the root.
pub fn cgroup(names: &Names, node: &Node) -> Result<Place, LinkError> {
    let noted = Some(names.cgroup.clone()).filter(|path| !path.as_os_str().is_empty());
    let (path, known) = match noted {
        Some(path) => (path, Known::Noted),
        None => unnoted(node).map_err(|source| LinkError::Cgroup {
            path: "cgroup2".into(),
            source,
        })?,
    };
    Cgroup::open(&path).map(|cgroup| Place { cgroup, known })
}

fn unnoted(node: &Node) -> io::Result<(PathBuf, Known)> {
    let root = node.cgroup2()?;
    let Some(id) = linked(&node.pins) else {
        return Ok((root, Known::Assumed));
    };
    let gone = || {
        io::Error::other(format!(
            "the links are attached to cgroup {id}, which is not below {}",
            root.display()
        ))
    };
    let path = find(&root, id).ok_or_else(gone)?;
    Ok((path, Known::ByLink))
}

/// The id of the cgroup that the first link that is there is attached to.
fn linked(pins: &Pins) -> Option<u64> {
    HOOKS.iter().find_map(|hook| {
        let link = bpf::open_pin(&pins.link(hook.program)).ok()?;
        match bpf::link_info(link.as_fd()).ok()?.target {
            Target::Cgroup { id, .. } => Some(id),
            _ => None,
        }
    })
}

/// The directory with an inode number, at or below another; what can't be read is passed over.
fn find(dir: &Path, inode: u64) -> Option<PathBuf> {
    if fs::metadata(dir).ok()?.ino() == inode {
        return Some(dir.to_path_buf());
    }
    let children = fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let mut dirs = children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.find_map(|child| find(&child.path(), inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_found_by_its_inode() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("kubepods/pod1/app");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(root.path().join("system")).unwrap();
        let inode = fs::metadata(&deep).unwrap().ino();
        assert_eq!(find(root.path(), inode), Some(deep.clone()));
        fs::remove_dir(&deep).unwrap();
        assert_eq!(find(root.path(), inode), None);
    }

    #[test]
    fn what_is_assumed_is_said() {
        assert_eq!(Known::Noted.remark(), "");
        assert_eq!(
            Known::ByLink.remark(),
            " (the agent left no note: told by its links)"
        );
        assert_eq!(
            Known::Assumed.remark(),
            " (assumed: the agent left neither a note nor a link)"
        );
    }
}

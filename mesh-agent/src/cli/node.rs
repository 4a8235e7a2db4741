//! The node as the commands read it.

use std::path::Path;

use mesh_common::flow::LiveFlow;

use super::{agent::Agent, failure::Failure, held::Held};
use crate::{
    app::{config::Place, mounts, names::Names},
    datapath::{
        links::{Cgroup, LinkError},
        listing,
        pins::Pins,
        readings::Readings,
        tables::{TableError, Tables},
    },
};

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Node {
    /// The pins.
    pub pins: Pins,
    /// The agent.
    pub agent: Agent,
    place: Place,
}

impl Node {
    /// The node of an agent that keeps its things in `place`.
    pub fn new(place: Place) -> Self {
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
        Ok(Held::new(observed, self.names()))
    }

    /// The names behind the ids. They are a convenience: where they can't be read, ids are shown.
    pub fn names(&self) -> Names {
        Names::load(&self.place.run_dir).unwrap_or_else(|error| {
            let dir = self.place.run_dir.display();
            eprintln!("meshctl: warning: the names in {dir} can't be read, so ids are shown: {error}");
            Names::default()
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

/// The cgroup whose sockets the programs see: the one the agent noted, or else the root.
pub fn cgroup(names: &Names) -> Result<Cgroup, LinkError> {
    let noted = Some(names.cgroup.clone()).filter(|path| !path.as_os_str().is_empty());
    let path = noted.map_or_else(mounts::cgroup2, Ok);
    let path = path.map_err(|source| LinkError::Cgroup {
        path: "cgroup2".into(),
        source,
    })?;
    Cgroup::open(&path)
}

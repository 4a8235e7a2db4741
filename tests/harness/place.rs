//! Where a thread or a program stands: a network namespace and a cgroup.

use std::ffi::OsStr;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

use crate::cgroup::Cgroup;
use crate::launch::Launch;
use crate::netns::Netns;
use crate::sys::{self, Entrance};
use crate::tenants::Tenants;

/// A place to run code in.
#[derive(Clone)]
pub struct Place {
    name: String,
    netns: Arc<Netns>,
    /// `None` leaves it in the test process's cgroup, where no program of the mesh is attached.
    cgroup: Option<Arc<Cgroup>>,
    tenants: Arc<Tenants>,
    /// Run directory of the sandbox.
    run: PathBuf,
}

impl Place {
    pub(crate) fn new(name: &str, netns: Arc<Netns>, cgroup: Arc<Cgroup>, run: &Path) -> Self {
        let tenants = Arc::default();
        Self {
            name: name.into(),
            netns,
            cgroup: Some(cgroup),
            tenants,
            run: run.into(),
        }
    }

    /// The same network namespace, out of the mesh's cgroup.
    #[must_use]
    pub fn unenrolled(&self) -> Self {
        Self {
            cgroup: None,
            ..self.clone()
        }
    }

    /// The network namespace of another place, and this one's cgroup: a namespace that a process of a pod made.
    #[must_use]
    pub fn with_netns_of(&self, other: &Self) -> Self {
        Self {
            netns: Arc::clone(&other.netns),
            ..self.clone()
        }
    }

    /// The same network namespace, in another cgroup.
    pub(crate) fn in_cgroup(&self, cgroup: Cgroup) -> Self {
        Self {
            cgroup: Some(Arc::new(cgroup)),
            ..self.clone()
        }
    }

    /// Runs `work` in a thread here and returns what it returns, or panics as it panicked.
    ///
    /// # Panics
    ///
    /// When the place was deleted.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter()
                .unwrap_or_else(|error| panic!("entering {}: {error}", self.name));
            work()
        };
        let result = thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name(self.name.clone())
                .spawn_scoped(scope, inside);
            thread
                .unwrap_or_else(|error| panic!("starting a thread: {error}"))
                .join()
        });
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs `work` in a thread here that outlives the call.
    pub(crate) fn spawn(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let place = self.clone();
        let inside = move || {
            place
                .enter()
                .unwrap_or_else(|error| panic!("entering {}: {error}", place.name));
            work();
        };
        thread::Builder::new().name(name.into()).spawn(inside)
    }

    /// Moves the calling thread here, for good.
    fn enter(&self) -> io::Result<()> {
        self.netns.enter()?;
        self.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.join())
    }

    /// A program to be started here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Launch {
        Launch::new(self.clone(), program.as_ref())
    }

    /// The way here for a new process.
    pub(crate) fn entrance(&self) -> Result<Entrance> {
        let network = self.netns.open().context("opening the network namespace")?;
        let cgroup = self
            .cgroup
            .as_ref()
            .map(|cgroup| cgroup.door())
            .transpose()
            .context("opening the cgroup")?;
        Ok(Entrance {
            network: Some(network),
            cgroup,
            mounts: None,
        })
    }

    /// Name, for logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Handle of the network namespace.
    #[must_use]
    pub fn netns(&self) -> &Path {
        self.netns.handle()
    }

    /// Directory of the cgroup, if it is not the test process's own.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_deref().map(Cgroup::path)
    }

    /// The cookie by which the kernel's programs know the network namespace.
    pub fn netns_cookie(&self) -> io::Result<u64> {
        self.netns.open()?;
        self.run(sys::netns_cookie)
    }

    pub(crate) fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    pub(crate) fn run_dir(&self) -> &Path {
        &self.run
    }

    /// Ends whatever still runs here, and removes the cgroup.
    pub(crate) fn evict(&self) -> Result<()> {
        self.tenants.stop();
        self.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.remove())
    }

    /// Evicts and gives the network namespace up.
    pub(crate) fn demolish(&self) -> Result<()> {
        self.evict().and(self.netns.remove())
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name, netns, cgroup, ..
        } = self;
        f.debug_struct("Place")
            .field("name", name)
            .field("netns", netns)
            .field("cgroup", cgroup)
            .finish()
    }
}

//! The test process as a whole: its cgroup, its janitor and its launcher, made with the first sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow};

use crate::launcher::Launcher;
use crate::{cgroup, janitor};

/// What the sandboxes of a process share.
#[derive(Debug)]
pub struct Process {
    /// The process's cgroup, parent of the sandboxes'.
    cgroup: PathBuf,
    /// Parent of all programs.
    launcher: Launcher,
    /// Closes when the process ends.
    _janitor: ChildStdin,
    sandboxes: AtomicU32,
}

impl Process {
    /// The one of this process.
    pub fn get() -> Result<&'static Self> {
        static PROCESS: OnceLock<Result<Process>> = OnceLock::new();
        PROCESS
            .get_or_init(Self::new)
            .as_ref()
            .map_err(|error| anyhow!("{error:#}"))
    }

    fn new() -> Result<Self> {
        janitor::sweep()?;
        let cgroups = cgroup::mount_point()?;
        // Before the process moves: the janitor ends what is in its cgroup, but not himself.
        let pipe = janitor::hire(&cgroups)?;
        let cgroup = cgroups.join(janitor::owned_by(std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("creating {} (needs root)", cgroup.display()))?;
        fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
            .with_context(|| format!("moving into {}", cgroup.display()))?;
        Ok(Self {
            cgroup,
            launcher: Launcher::start()?,
            _janitor: pipe,
            sandboxes: AtomicU32::new(0),
        })
    }

    /// Directory of the process's cgroup.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Starts programs.
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// A number for one more sandbox.
    pub fn next_sandbox(&self) -> u32 {
        self.sandboxes.fetch_add(1, Ordering::Relaxed)
    }
}

//! Programs that run in a place.

use std::fs;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::Signal;

use crate::eventually;
use crate::running::Running;

/// A program that runs, with what it started; dropping it ends them.
#[derive(Debug)]
pub struct Program {
    running: Arc<Running>,
}

impl Program {
    pub(crate) fn new(running: Arc<Running>) -> Self {
        Self { running }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.running.status().is_none()
    }

    /// Memory in bytes, as a field of `/proc/PID/status` tells it: `VmRSS` now, `VmHWM` at most.
    pub fn memory(&self, field: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let value = value.with_context(|| format!("no {field}: {text}"))?;
        Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    /// Sends a signal to the program alone, not to what it started.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Waits for the end at most this long. What the program started lives on.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let still = || format!("still running after {limit:?}\n{}", self.tail());
        eventually(limit, || self.running.status().ok_or(())).map_err(|()| anyhow!(still()))
    }

    /// Ends it with all it started: `SIGTERM`, and `SIGKILL` three seconds later.
    pub fn terminate(&self) -> Result<ExitStatus> {
        self.running.end()
    }

    /// Everything it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.log().text()
    }

    /// The last lines it printed, under a title.
    #[must_use]
    pub fn tail(&self) -> String {
        self.running.log().tail()
    }
}

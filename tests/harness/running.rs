//! A process of ours, with its group.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::lock::lock;
use crate::log::Log;
use crate::tenants::Tenant;
use crate::until;

/// How long a program may take to end after `SIGTERM` before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// The process stays unreaped until [`Running::end`], so its id, and its group's, stay its own.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    state: Mutex<State>,
    log: Log,
}

#[derive(Debug)]
struct State {
    child: Child,
    /// Known once it is reaped.
    status: Option<ExitStatus>,
}

impl Running {
    /// Takes care of a process that leads its group.
    pub fn new(child: Child, log: Log) -> Self {
        Self {
            pid: Pid::from_child(&child),
            state: Mutex::new(State { child, status: None }),
            log,
        }
    }

    /// Process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What it prints.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// How it ended, if it did.
    pub fn status(&self) -> Option<ExitStatus> {
        lock(&self.state).status.or_else(|| peek(self.pid))
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let state = lock(&self.state);
        match state.status {
            None => kill_process(self.pid, signal).context("sending a signal"),
            Some(status) => anyhow::bail!("no signal to a program that ended: {status}"),
        }
    }

    /// Ends the group: `SIGTERM`, and `SIGKILL` when the leader is gone or takes too long.
    pub fn end(&self) -> Result<ExitStatus> {
        let mut state = lock(&self.state);
        if let Some(status) = state.status {
            return Ok(status);
        }
        // Either may find nobody any more.
        let _ = kill_process_group(self.pid, Signal::TERM);
        let _ = until(GRACE, || peek(self.pid).is_some());
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = state.child.wait().context("waiting for a program")?;
        state.status = Some(status);
        Ok(status)
    }
}

impl Tenant for Running {
    fn stop(&self) {
        let _ = self.end();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How a child ended, without reaping it.
fn peek(pid: Pid) -> Option<ExitStatus> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(pid), look).ok()??;
    let raw = status
        .exit_status()
        .map(|code| code << 8)
        .or(status.terminating_signal())?;
    Some(ExitStatus::from_raw(raw))
}

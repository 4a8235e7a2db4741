//! The agent as a child process, and what it does for that itself.

use std::{
    env,
    ffi::OsString,
    io,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::SigSet;
use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, set_parent_process_death_signal,
        wait,
    },
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_name},
};

use super::policy::End;

/// Says to the agent which process looks after it.
const BROKER: &str = "MESH_BROKER_PID";

/// A child that was started and not reaped yet.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    started: Instant,
}

impl Child {
    /// Starts this program again, with other arguments: also where its file was replaced or removed meanwhile.
    pub fn start(args: &[OsString]) -> io::Result<Self> {
        let child = Command::new("/proc/self/exe")
            .args(args)
            .env(BROKER, getpid().to_string())
            .spawn()?;
        Ok(Self {
            pid: Pid::from_child(&child),
            started: Instant::now(),
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sends it a signal. It was not reaped, so its number is nobody else's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid, signal)?)
    }

    /// Reaps all that ended; how this one did, if so.
    pub fn reap(&self) -> io::Result<Option<End>> {
        while let Some((pid, status)) = reap()? {
            match end(status) {
                Some(end) if pid == self.pid => return Ok(Some(end)),
                _ => tracing::info!(pid = pid.as_raw_nonzero().get(), "reaped an orphan"),
            }
        }
        Ok(None)
    }
}

/// Reaps all that ended, while the agent does not run.
pub fn reap_orphans() -> io::Result<()> {
    while reap()?.is_some() {}
    Ok(())
}

fn reap() -> io::Result<Option<(Pid, WaitStatus)>> {
    match wait(WaitOptions::NOHANG) {
        Ok(ended) => Ok(ended),
        Err(Errno::CHILD) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn end(status: WaitStatus) -> Option<End> {
    let exited = status.exit_status().and_then(|code| u8::try_from(code).ok());
    exited
        .map(End::Exited)
        .or_else(|| status.terminating_signal().map(End::Killed))
}

/// Gives up what this process may do beyond others of its user. A program it starts gets all of it back: what is
/// permitted stays so, since a process that may gain no new privileges could not pass it on otherwise.
pub fn drop_privileges() -> io::Result<()> {
    let sets = capabilities(None)?;
    let fewer = CapabilitySets {
        effective: CapabilitySet::empty(),
        ..sets
    };
    Ok(set_capabilities(None, fewer)?)
}

/// To be called first by an agent: where a broker started it, it hears signals again, has its own name, and ends with
/// the broker, however that ends.
///
/// # Errors
/// The system's, or where the broker is gone already.
pub fn settle_in() -> io::Result<()> {
    let Some(broker) = env::var_os(BROKER) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::TERM))?;
    set_name(c"mesh-agent")?;
    SigSet::empty().thread_set_mask()?;
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if broker.to_str() == Some(&parent.to_string()) {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "the broker that started this agent is gone: {BROKER} is for its children only"
        )))
    }
}

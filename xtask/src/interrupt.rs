//! Ctrl-C and termination: the signal goes on to everything the running command started, the command ends,
//! and this program unwinds, so that guards put back what they changed.

use std::process::{Child, ExitCode};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a group may take to end after the signal, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

static RECEIVED: AtomicI32 = AtomicI32::new(0);
static RUNNING: Mutex<Option<Pid>> = Mutex::new(None);

/// A signal asked this program to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted by signal {0}")]
pub struct Interrupted(i32);

impl Interrupted {
    /// What a shell reports for a process that a signal ended.
    pub fn exit_code(&self) -> ExitCode {
        u8::try_from(128 + self.0).map_or(ExitCode::FAILURE, ExitCode::from)
    }
}

/// Starts to listen. A second signal is passed on as well.
pub fn listen() -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot listen to signals")?;
    thread::spawn(move || {
        for signal in signals.forever() {
            RECEIVED.store(signal, Ordering::SeqCst);
            let running = *RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(group) = running {
                pass_on(group, signal);
            }
        }
    });
    Ok(())
}

/// An error once a signal came.
pub fn check() -> Result<(), Interrupted> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => Ok(()),
        signal => Err(Interrupted(signal)),
    }
}

/// Signals that come while this lives go on to the process group that `child` leads.
#[must_use]
pub struct Forwarding(Pid);

impl Forwarding {
    /// `child` was started as the leader of its own process group.
    pub fn to(child: &Child) -> Self {
        let group = Pid::from_child(child);
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some(group);
        // One that came between the start of the child and the line above.
        if let Err(Interrupted(signal)) = check() {
            pass_on(group, signal);
        }
        Self(group)
    }

    /// Ends what the child left behind in its group; true when there was anything.
    pub fn end_stragglers(&self) -> bool {
        if test_kill_process_group(self.0).is_err() {
            return false;
        }
        pass_on(self.0, SIGTERM);
        let deadline = Instant::now() + GRACE;
        while test_kill_process_group(self.0).is_ok() {
            if Instant::now() > deadline {
                // Ending between the check and here is what is wanted.
                let _ = kill_process_group(self.0, Signal::KILL);
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn pass_on(group: Pid, signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // A group that is gone already needs no signal.
        let _ = kill_process_group(group, signal);
    }
}

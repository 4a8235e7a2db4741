//! `mesh-agent broker`: process 1 of the agent's container. It starts the agent again when that crashes, passes on what
//! ends it, and reaps what others left. It holds nothing and does nothing else, so that it does not crash.

mod child;
mod policy;
mod signals;

use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

use anyhow::Context;
use mesh_common::names::exit;
use rustix::process::Signal;

use child::Child;
pub use child::settle_in;
use policy::{End, Next, Restarts};
use signals::Signals;

/// Starts the agent with `args` and looks after it until one of them is told to end; returns the exit code.
///
/// # Errors
/// The system's, where it can't be started or waited for.
pub fn run(args: &[OsString], grace: Duration) -> anyhow::Result<u8> {
    let signals = Signals::take().context("taking the signals")?;
    child::drop_privileges().context("dropping capabilities")?;
    let mut restarts = Restarts::default();
    loop {
        let child = Child::start(args).context("starting the agent")?;
        tracing::info!(pid = child.pid(), "the agent is started");
        let (end, told) = attend(&child, &signals, grace)?;
        if told {
            tracing::info!(%end, "the agent was told to end, and did");
            return Ok(end.code_when_told());
        }
        match restarts.next(end, child.age()) {
            Next::End(code) => {
                tracing::info!(%end, code, "the agent ended by itself");
                return Ok(code);
            }
            Next::Restart(pause) => {
                let seconds = pause.as_secs_f64();
                tracing::error!(%end, seconds, "the agent crashed; it is started again after this pause");
                if !sleep(&signals, pause)? {
                    tracing::info!("told to end");
                    return Ok(exit::OK);
                }
            }
        }
    }
}

/// Waits for the end of the agent, and tells it to end when told so; how it ended, and whether it was told to.
fn attend(child: &Child, signals: &Signals, grace: Duration) -> anyhow::Result<(End, bool)> {
    let mut deadline: Option<Instant> = None;
    let mut told = false;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let signal = signals.wait(left).context("waiting for signals")?;
        // Whatever woke it: a signal tells of one child, and there may be more.
        if let Some(end) = child.reap().context("waiting for the agent")? {
            return Ok((end, told));
        }
        match signal {
            Some(signal @ (Signal::TERM | Signal::INT)) => {
                tracing::info!(?signal, "passed on");
                child.signal(signal)?;
                told = true;
                deadline = deadline.or_else(|| Some(Instant::now() + grace));
            }
            None if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                let seconds = grace.as_secs_f64();
                tracing::error!(seconds, "the agent did not end in time: killed");
                child.signal(Signal::KILL)?;
                deadline = None;
            }
            _ => {}
        }
    }
}

/// Sleeps, and reaps; `false` when told to end meanwhile.
fn sleep(signals: &Signals, pause: Duration) -> anyhow::Result<bool> {
    let end = Instant::now() + pause;
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        let signal = signals.wait(Some(left)).context("waiting for signals")?;
        child::reap_orphans().context("reaping")?;
        if matches!(signal, Some(Signal::TERM | Signal::INT)) {
            return Ok(false);
        }
    }
    Ok(true)
}

//! Signals, read instead of handled.

use std::{io, time::Duration};

use nix::sys::{
    signal::{SigSet, Signal as Number},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::Signal,
};

/// SIGTERM, SIGINT and SIGCHLD of this process, which must have one thread.
pub struct Signals {
    queue: SignalFd,
}

impl Signals {
    /// Blocks the signals and reads them from now on. Children inherit that: see [`super::settle_in`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn take() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Number::SIGTERM, Number::SIGINT, Number::SIGCHLD] {
            set.add(signal);
        }
        set.thread_block()?;
        let queue = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { queue })
    }

    /// The next signal; `None` when the time is over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Option<Signal>> {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut [PollFd::new(&self.queue, PollFlags::IN)], limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let signal = self.queue.read_signal()?;
        Ok(signal.and_then(|signal| Signal::from_named_raw(i32::try_from(signal.ssi_signo).ok()?)))
    }
}

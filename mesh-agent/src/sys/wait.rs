//! Waiting: again and again, and for descriptors that tokio has no type for.

use std::{io, os::fd::OwnedFd, time::Duration};

use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Interval, MissedTickBehavior, interval},
};

/// Ticks now and from then on; after a late tick the next one comes a whole period later. To be called within the
/// runtime.
#[must_use]
pub fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Makes a descriptor awaitable for reading; to be called within the runtime.
///
/// # Errors
/// The system's, e.g. for a regular file.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open for as long as it lives, always names the same file, and moves into the result.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

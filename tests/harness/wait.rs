//! Waiting for something to become true, never for a fixed time.

use std::thread::sleep;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);

/// Asks every two milliseconds until the answer is yes; says whether it came within `limit`.
#[must_use]
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        sleep(PAUSE);
    }
}

/// Asks until the answer is `Ok`, and returns the last error when none came within `limit`.
pub fn eventually<T, E>(limit: Duration, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < limit => sleep(PAUSE),
            result => return result,
        }
    }
}

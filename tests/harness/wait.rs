//! Waiting for something to become true, never for a fixed time.

use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);

/// How many times slower than usual this machine may be: `MESH_TEST_SLOW`, or 1.
static SLOWNESS: LazyLock<u32> = LazyLock::new(|| {
    let value = std::env::var("MESH_TEST_SLOW").unwrap_or_else(|_| "1".into());
    match value.parse() {
        Ok(times @ 1..) => times,
        _ => panic!("MESH_TEST_SLOW={value} is no whole number above 0"),
    }
});

/// A limit for this machine: an emulated one takes longer, and says so by `MESH_TEST_SLOW`.
///
/// # Panics
///
/// When `MESH_TEST_SLOW` is no whole number above 0.
#[must_use]
pub fn patient(limit: Duration) -> Duration {
    limit.saturating_mul(*SLOWNESS)
}

/// Asks every two milliseconds until the answer is yes; says whether it came within `limit`, made [`patient`].
#[must_use]
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let (limit, start) = (patient(limit), Instant::now());
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

/// Asks until the answer is `Ok`, and returns the last error when none came within `limit`, made [`patient`].
pub fn eventually<T, E>(limit: Duration, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let (limit, start) = (patient(limit), Instant::now());
    loop {
        match attempt() {
            Err(_) if start.elapsed() < limit => sleep(PAUSE),
            result => return result,
        }
    }
}

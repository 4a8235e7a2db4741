//! Locking in tests: a panic elsewhere is no reason to panic here, where things are being removed.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, poisoned or not.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

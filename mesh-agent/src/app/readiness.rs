//! Ready is what has nothing pending; what is pending has a name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// The things that are not done or not right, each with what is known of it.
#[derive(Clone, Debug)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeMap<&'static str, String>>>,
    notes: Arc<Mutex<BTreeMap<&'static str, String>>>,
    started: Instant,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            pending: Arc::default(),
            notes: Arc::default(),
            started: Instant::now(),
        }
    }
}

impl Readiness {
    /// Says that something keeps the agent from being ready.
    pub fn block(&self, name: &'static str, why: impl Into<String>) {
        let why = why.into();
        let before = self.lock().insert(name, why.clone());
        if before.as_ref() != Some(&why) {
            tracing::info!(pending = name, why, "not ready");
        }
    }

    /// Says that it no longer does.
    pub fn clear(&self, name: &'static str) {
        let mut pending = self.lock();
        if pending.remove(name).is_some() {
            let left: Vec<_> = pending.keys().copied().collect();
            let seconds = self.started.elapsed().as_secs_f64();
            drop(pending);
            tracing::info!(task = name, seconds, ?left, "done");
        }
    }

    /// Says something that keeps nobody from being ready.
    pub fn note(&self, name: &'static str, text: impl Into<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.insert(name, text.into());
    }

    /// Takes back what was said.
    pub fn forget(&self, name: &'static str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.remove(name);
    }

    /// What was noted.
    #[must_use]
    pub fn notes(&self) -> BTreeMap<&'static str, String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is pending now; empty when ready.
    #[must_use]
    pub fn pending(&self) -> BTreeMap<&'static str, String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_pending() {
        let readiness = Readiness::default();
        readiness.block("programs", "not attached yet");
        readiness.block("manifests", "not read yet");
        readiness.clear("programs");
        assert_eq!(readiness.pending().into_keys().collect::<Vec<_>>(), ["manifests"]);
        readiness.clear("manifests");
        assert!(readiness.pending().is_empty());
    }
}

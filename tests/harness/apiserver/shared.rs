//! What the connections and the handle share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::access::Access;
use super::exec::Runner;
use super::faults::Faults;
use super::log::Request;
use super::logs::Logs;
use super::store::Store;
use crate::lock::lock;

/// The state of a server. Locks are held for moments, and never two but in the order of the fields.
#[derive(Debug)]
pub struct Shared {
    access: Mutex<Access>,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<Request>>,
    runner: Mutex<Runner>,
    logs: Mutex<Logs>,
    /// Bytes of events.
    told: AtomicU64,
    /// Time between two bookmarks.
    bookmarks: Mutex<Duration>,
    /// Rises with every change of the store or the faults.
    changes: watch::Sender<u64>,
    /// Rises when all connections are to break off.
    cuts: watch::Sender<u64>,
}

impl Shared {
    /// With a store, and who may use it.
    pub fn new(store: Store, access: Access, bookmarks: Duration) -> Self {
        Self {
            access: Mutex::new(access),
            store: Mutex::new(store),
            faults: Mutex::default(),
            requests: Mutex::default(),
            runner: Mutex::default(),
            logs: Mutex::default(),
            told: AtomicU64::default(),
            bookmarks: Mutex::new(bookmarks),
            changes: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
        }
    }

    /// Who is who.
    pub fn access(&self) -> MutexGuard<'_, Access> {
        lock(&self.access)
    }

    /// The objects, to look at.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Changes objects and wakes the watchers.
    pub fn write<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let result = change(&mut lock(&self.store));
        self.wake();
        result
    }

    /// What goes wrong, to look at.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// Changes what goes wrong.
    pub fn disturb<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let result = change(&mut lock(&self.faults));
        self.wake();
        result
    }

    /// What meets a request: how late it is answered, and instead of what it asks for.
    pub fn interference(&self, request: &Request) -> (Duration, Option<(u16, Option<u64>)>) {
        let mut faults = lock(&self.faults);
        if request.verb.is_empty() {
            return (Duration::ZERO, None);
        }
        let (verb, resource) = (&request.verb, &request.resource);
        (faults.delay_of(verb, resource), faults.refusal_of(verb, resource))
    }

    /// The version the watch cache stands at.
    pub fn cached(&self, store: &Store) -> u64 {
        let cached = lock(&self.faults).cached;
        cached.unwrap_or_else(|| store.version()).min(store.version())
    }

    /// Whether the watch cache does not have a version, and gets no further for now.
    pub fn lags_behind(&self, version: u64) -> Option<u64> {
        let faults = lock(&self.faults);
        faults.cached.filter(|&cached| faults.lagging && version > cached)
    }

    /// Time between two bookmarks.
    pub fn bookmarks(&self) -> Duration {
        *lock(&self.bookmarks)
    }

    /// From the next bookmark on.
    pub fn set_bookmarks(&self, interval: Duration) {
        *lock(&self.bookmarks) = interval;
    }

    /// What runs commands in pods.
    pub fn runner(&self) -> MutexGuard<'_, Runner> {
        lock(&self.runner)
    }

    /// What containers said.
    pub fn logs(&self) -> MutexGuard<'_, Logs> {
        lock(&self.logs)
    }

    /// Remembers a request.
    pub fn note(&self, request: Request) {
        lock(&self.requests).push(request);
    }

    /// The requests so far.
    pub fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        lock(&self.requests)
    }

    /// Counts bytes of events that go to a watch.
    pub fn tell(&self, bytes: usize) {
        self.told.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of events that went to watches.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Wakes at every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Breaks off all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// Wakes when connections break off.
    pub fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }
}

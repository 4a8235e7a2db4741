//! What happened in the directory since the last look, between the watcher's thread and ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind};

/// Somebody who writes to a file longer than this without a pause or an end is not waited for.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);

/// Collects events of the file system.
#[derive(Debug, Default)]
pub(super) struct Wake {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    dirty: bool,
    stop: bool,
    /// Files that are open for writing: they may be empty or half there now, and will be closed.
    writing: BTreeMap<String, Instant>,
}

impl Wake {
    /// Takes in an event.
    pub(super) fn notice(&self, event: notify::Result<Event>) {
        let mut state = self.lock();
        state.notice(event, Instant::now());
        self.notify(&state);
    }

    /// Ends the wait for good.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stop = true;
        self.notify(&state);
    }

    /// Waits until something happened or the time is over.
    pub(super) fn wait(&self, timeout: Duration) -> Waited {
        let idle = |state: &mut State| !state.dirty && !state.stop;
        let guard = self.lock();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(guard, timeout, idle)
            .unwrap_or_else(PoisonError::into_inner);
        match (state.stop, std::mem::take(&mut state.dirty)) {
            (true, _) => Waited::Stopped,
            (false, true) => Waited::Changed,
            (false, false) => Waited::Long,
        }
    }

    /// The files that are being written.
    pub(super) fn busy(&self) -> BTreeSet<String> {
        let mut state = self.lock();
        state.writing.retain(|_, since| since.elapsed() < WRITER_PATIENCE);
        state.writing.keys().cloned().collect()
    }

    /// Forgets what happened so far; a look at the directory is about to follow.
    pub(super) fn settle(&self) {
        self.lock().dirty = false;
    }

    fn notify(&self, state: &State) {
        if state.dirty || state.stop {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain data: a panic elsewhere leaves it good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Waited {
    /// Something happened.
    Changed,
    /// Nothing did.
    Long,
    /// There is nobody to wait for.
    Stopped,
}

impl State {
    fn notice(&mut self, event: notify::Result<Event>, now: Instant) {
        let Ok(event) = event else {
            self.dirty = true;
            return;
        };
        if event.need_rescan() {
            // Events were lost, the end of a write among them perhaps.
            self.writing.clear();
        }
        let names = event.paths.iter().filter_map(|path| path.file_name()?.to_str());
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.writing.extend(names.map(|name| (name.to_owned(), now)));
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => {
                self.writing.retain(|name, _| !names.clone().any(|it| it == name));
                self.dirty = true;
            }
            // We open and read files ourselves.
            EventKind::Access(_) => {}
            _ => self.dirty = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind, RenameMode};

    use super::*;

    const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const OPEN: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));

    fn after(events: impl IntoIterator<Item = Event>) -> (bool, Vec<String>) {
        let mut state = State::default();
        for event in events {
            state.notice(Ok(event), Instant::now());
        }
        (state.dirty, state.writing.into_keys().collect())
    }

    fn event(kind: EventKind) -> Event {
        Event::new(kind).add_path("/dir/a.yaml".into())
    }

    #[test]
    fn a_write_counts_when_it_ends() {
        let busy = vec!["a.yaml".to_owned()];
        assert_eq!(after([event(OPEN)]), (false, vec![]));
        assert_eq!(after([event(WRITE)]), (false, busy.clone()));
        assert_eq!(after([event(WRITE), event(CLOSE)]), (true, vec![]));
        assert_eq!(after([event(WRITE), event(CLOSE), event(WRITE)]), (true, busy));
    }

    #[test]
    fn a_file_that_is_replaced_or_removed_is_nobodys_any_more() {
        for kind in [
            EventKind::Remove(RemoveKind::File),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
        ] {
            assert_eq!(after([event(WRITE), event(kind)]), (true, vec![]));
        }
    }

    #[test]
    fn new_files_and_lost_events_count_at_once() {
        assert_eq!(
            after([event(EventKind::Create(CreateKind::File))]),
            (true, vec![])
        );
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(after([event(WRITE), lost]), (true, vec![]));
    }

    #[test]
    fn a_wait_ends_for_one_reason() {
        let wake = Wake::default();
        let short = Duration::from_millis(1);
        assert_eq!(wake.wait(short), Waited::Long);
        wake.notice(Ok(event(CLOSE)));
        assert_eq!(wake.wait(short), Waited::Changed);
        assert_eq!(wake.wait(short), Waited::Long);
        wake.stop();
        assert_eq!(wake.wait(short), Waited::Stopped);
    }
}

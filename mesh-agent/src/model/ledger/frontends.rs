//! Which frontend leads to which service id, and who waits for it.

use std::collections::{BTreeSet, HashMap};

use mesh_common::service::Frontend;

use crate::model::desired::ObjectName;

/// The table of frontends.
#[derive(Clone, Debug, Default)]
pub(super) struct Frontends {
    entries: HashMap<Frontend, Entry>,
    waiting: HashMap<Frontend, BTreeSet<ObjectName>>,
}

/// What the kernel holds under a frontend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// Service id; 0 where the entry makes no sense.
    pub(super) service: u32,
    pub(super) state: State,
}

/// Whether somebody wants an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// The owner of the service id does.
    Claimed,
    /// A previous agent left it, and its owner may still come.
    Adopted,
    /// Nobody does, or somebody else: it leads where it led until it is overwritten or removed.
    LetGo,
}

impl Frontends {
    pub(super) fn get(&self, frontend: &Frontend) -> Option<Entry> {
        self.entries.get(frontend).copied()
    }

    /// Notes what the kernel holds now; the service id it held before.
    pub(super) fn set(&mut self, frontend: Frontend, service: u32, state: State) -> Option<u32> {
        let former = self.entries.insert(frontend, Entry { service, state });
        former.map(|entry| entry.service)
    }

    /// Notes that the kernel holds it no longer; the service id it held.
    pub(super) fn remove(&mut self, frontend: &Frontend) -> Option<u32> {
        self.entries.remove(frontend).map(|entry| entry.service)
    }

    /// Nobody wants it for now.
    pub(super) fn let_go(&mut self, frontend: &Frontend) {
        if let Some(entry) = self.entries.get_mut(frontend) {
            entry.state = State::LetGo;
        }
    }

    /// Every frontend a previous agent left and nobody has claimed.
    pub(super) fn adopted(&self) -> BTreeSet<Frontend> {
        let entries = self.entries.iter();
        let adopted = entries.filter(|(_, entry)| entry.state == State::Adopted);
        adopted.map(|(&frontend, _)| frontend).collect()
    }

    /// Whether it can be removed: nobody has it and nobody waits for it.
    pub(super) fn is_unwanted(&self, frontend: &Frontend) -> bool {
        let let_go = self
            .get(frontend)
            .is_some_and(|entry| entry.state == State::LetGo);
        let_go && !self.waiting.contains_key(frontend)
    }

    /// Whether one who waits for it could have it now.
    pub(super) fn is_free(&self, frontend: &Frontend) -> bool {
        self.get(frontend).is_none_or(|entry| entry.state == State::LetGo)
    }

    pub(super) fn wait(&mut self, frontend: Frontend, name: &ObjectName) {
        self.waiting.entry(frontend).or_default().insert(name.clone());
    }

    pub(super) fn stop_waiting(&mut self, frontend: &Frontend, name: &ObjectName) {
        if let Some(names) = self.waiting.get_mut(frontend) {
            names.remove(name);
            if names.is_empty() {
                self.waiting.remove(frontend);
            }
        }
    }

    /// Number of entries in the kernel.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All that make sense.
    pub(super) fn sound(&self) -> impl Iterator<Item = (Frontend, u32)> {
        let entries = self
            .entries
            .iter()
            .map(|(&frontend, entry)| (frontend, entry.service));
        entries.filter(|&(_, service)| service != 0)
    }
}

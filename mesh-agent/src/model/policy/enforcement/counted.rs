//! Things that are there for as long as somebody uses them, by a short id.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Id of a thing; never used for another one.
pub(super) type Id = u32;

/// Gives out ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids(Id);

impl Ids {
    pub(super) fn next(&mut self) -> Id {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

/// The things and how many use each.
#[derive(Clone, Debug)]
pub(super) struct Counted<T> {
    ids: HashMap<Arc<T>, Id>,
    all: HashMap<Id, (Arc<T>, usize)>,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            all: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Counted<T> {
    /// One more uses it. Its id, and whether this is the first.
    pub(super) fn acquire(&mut self, it: &T, ids: &mut Ids) -> (Id, bool) {
        if let Some(&id) = self.ids.get(it) {
            if let Some((_, count)) = self.all.get_mut(&id) {
                *count += 1;
            }
            return (id, false);
        }
        let (id, it) = (ids.next(), Arc::new(it.clone()));
        self.ids.insert(it.clone(), id);
        self.all.insert(id, (it, 1));
        (id, true)
    }

    /// One less uses it. The thing, if that was the last.
    pub(super) fn release(&mut self, id: Id) -> Option<Arc<T>> {
        let (it, count) = self.all.get_mut(&id)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        let it = it.clone();
        self.ids.remove(&it);
        self.all.remove(&id);
        Some(it)
    }

    /// Takes a thing over from another registry, with its id there.
    pub(super) fn share(&mut self, id: Id, it: &Arc<T>) {
        self.ids.insert(it.clone(), id);
        self.all.insert(id, (it.clone(), 1));
    }

    pub(super) fn get(&self, id: Id) -> Option<&Arc<T>> {
        self.all.get(&id).map(|(it, _)| it)
    }

    pub(super) fn id(&self, it: &T) -> Option<Id> {
        self.ids.get(it).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

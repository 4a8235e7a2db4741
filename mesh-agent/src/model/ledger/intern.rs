//! One id for each distinct thing, for as long as anybody refers to it.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::REST;
use super::ids::{Ids, NoId};

/// Ids of things, counted by reference.
///
/// An id that rests remembers what it stood for: the same thing gets the same id again, which no reader can
/// tell from its never having gone.
#[derive(Clone, Debug)]
pub(super) struct Interned<K> {
    ids: Ids,
    by_key: HashMap<Arc<K>, u32>,
    by_id: HashMap<u32, Entry<K>>,
}

#[derive(Clone, Debug)]
struct Entry<K> {
    /// Nothing where only the id is known, from tables that a previous agent wrote.
    key: Option<Arc<K>>,
    refs: u32,
    rests_since: Duration,
    /// Whether the kernel knows this id as this thing.
    published: bool,
}

/// A reference that was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Taken {
    pub(super) id: u32,
    /// Whether it is the only one.
    pub(super) first: bool,
}

/// What the tables in the kernel refer to: for each id what it stands for, where known, and how often.
pub(super) type Used<K> = BTreeMap<u32, (Option<K>, u32)>;

impl<K: Eq + Hash> Interned<K> {
    /// With these ids, of which `used` ones are in use.
    pub(super) fn adopt(ids: Ids, used: Used<K>) -> Self {
        let mut by_key = HashMap::with_capacity(used.len());
        let mut by_id = HashMap::with_capacity(used.len());
        for (id, (key, refs)) in used {
            let key = key.map(Arc::new);
            if let Some(key) = &key {
                by_key.entry(Arc::clone(key)).or_insert(id);
            }
            let entry = Entry {
                key,
                refs,
                rests_since: Duration::ZERO,
                published: true,
            };
            by_id.insert(id, entry);
        }
        Self { ids, by_key, by_id }
    }

    pub(super) const fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The ids that somebody refers to, where it is known what they stand for.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (u32, &K)> {
        let referred = self.by_id.iter().filter(|(_, entry)| entry.refs > 0);
        referred.filter_map(|(&id, entry)| Some((id, entry.key.as_deref()?)))
    }

    /// Refers to a thing, with a new id where it has none.
    pub(super) fn take(&mut self, key: &K, now: Duration) -> Result<Taken, NoId>
    where
        K: Clone,
    {
        match self.take_known(key) {
            Some(taken) => Ok(taken),
            None => self.take_new(key, now),
        }
    }

    /// Refers to a thing that has an id, in use or at rest.
    pub(super) fn take_known(&mut self, key: &K) -> Option<Taken> {
        let id = self.id(key)?;
        Some(self.refer(id))
    }

    /// Refers to a thing that has no id, with a new one.
    pub(super) fn take_new(&mut self, key: &K, now: Duration) -> Result<Taken, NoId>
    where
        K: Clone,
    {
        let id = self.ids.take(now)?;
        self.forget(id);
        let key = Arc::new(key.clone());
        self.by_key.insert(Arc::clone(&key), id);
        let entry = Entry {
            key: Some(key),
            refs: 1,
            rests_since: Duration::ZERO,
            published: false,
        };
        self.by_id.insert(id, entry);
        Ok(Taken { id, first: true })
    }

    /// Refers to an id that is in use and stands for nothing known, and says what it stands for.
    pub(super) fn name(&mut self, id: u32, key: &K) -> Option<Taken>
    where
        K: Clone,
    {
        let entry = self.by_id.get_mut(&id)?;
        if entry.key.is_some() || entry.refs == 0 {
            return None;
        }
        let key = Arc::new(key.clone());
        entry.key = Some(Arc::clone(&key));
        self.by_key.insert(key, id);
        Some(self.refer(id))
    }

    /// Gives up a reference; whether it was the last one.
    pub(super) fn release(&mut self, id: u32, now: Duration) -> bool {
        self.give_up(id, Some(now))
    }

    /// Gives up a reference that was taken in vain, as if it never had been; whether it was the last one.
    pub(super) fn cancel(&mut self, id: u32) -> bool {
        self.give_up(id, None)
    }

    /// Notes that the kernel is told; what it must be told, where it does not know it yet.
    pub(super) fn publish(&mut self, id: u32) -> Option<&K> {
        let entry = self.by_id.get_mut(&id)?;
        if std::mem::replace(&mut entry.published, true) {
            return None;
        }
        entry.key.as_deref()
    }

    /// The id of a thing, in use or at rest.
    pub(super) fn id(&self, key: &K) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// Whether the thing can only get an id that is free: it has none, or has lost its claim to it.
    pub(super) fn needs_id(&self, key: &K, now: Duration) -> bool {
        let entry = self.id(key).and_then(|id| self.by_id.get(&id));
        entry.is_none_or(|entry| entry.refs == 0 && entry.rests_since + REST <= now)
    }

    /// What an id stands for, or last stood for.
    pub(super) fn key(&self, id: u32) -> Option<&K> {
        self.by_id.get(&id)?.key.as_deref()
    }

    /// How many new things could get an id now.
    pub(super) fn free(&mut self, now: Duration) -> u32 {
        self.ids.free(now)
    }

    /// How many ids rest.
    pub(super) fn resting(&mut self, now: Duration) -> u32 {
        self.ids.resting(now)
    }

    fn give_up(&mut self, id: u32, rests_since: Option<Duration>) -> bool {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return false;
        };
        entry.refs = entry.refs.saturating_sub(1);
        if entry.refs > 0 {
            return false;
        }
        if entry.published {
            entry.rests_since = rests_since.unwrap_or(entry.rests_since);
            self.ids.rest(id, entry.rests_since);
        } else {
            self.forget(id);
            self.ids.put_back(id);
        }
        true
    }

    fn refer(&mut self, id: u32) -> Taken {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return Taken { id, first: false };
        };
        let first = entry.refs == 0;
        if first {
            self.ids.revive(id, entry.rests_since);
        }
        entry.refs += 1;
        Taken { id, first }
    }

    fn forget(&mut self, id: u32) {
        if let Some(Entry { key: Some(key), .. }) = self.by_id.remove(&id)
            && self.by_key.get(&key) == Some(&id)
        {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const NOW: Duration = Duration::from_secs(100);

    fn interned(last: u32) -> Interned<&'static str> {
        Interned::adopt(Ids::unused(last), Used::new())
    }

    fn take(interned: &mut Interned<&'static str>, key: &'static str, now: Duration) -> Option<u32> {
        let id = interned.take(&key, now).ok()?.id;
        interned.publish(id);
        Some(id)
    }

    #[test]
    fn the_same_thing_has_the_same_id_until_the_last_reference_goes() {
        let mut interned = interned(2);
        assert_eq!(take(&mut interned, "a", NOW), Some(1));
        assert_eq!(take(&mut interned, "a", NOW), Some(1));
        assert!(!interned.release(1, NOW));
        assert!(interned.release(1, NOW));
        assert_eq!(interned.resting(NOW), 1);
    }

    #[test]
    fn a_thing_that_returns_gets_its_id_back_and_another_only_after_the_rest() {
        let mut interned = interned(1);
        take(&mut interned, "a", NOW);
        interned.release(1, NOW);
        assert_eq!(take(&mut interned, "b", NOW), None);
        assert_eq!(take(&mut interned, "a", NOW), Some(1));
        interned.release(1, NOW);
        assert_eq!(take(&mut interned, "b", NOW + REST), Some(1));
        assert_eq!((interned.id(&"a"), interned.key(1)), (None, Some(&"b")));
    }

    #[test]
    fn what_the_kernel_never_saw_need_not_rest() {
        let mut interned = interned(1);
        interned.take(&"a", NOW).unwrap();
        interned.release(1, NOW);
        assert_eq!(interned.take(&"b", NOW).unwrap().id, 1);
        assert_eq!(interned.publish(1), Some(&"b"));
        assert_eq!(interned.publish(1), None);
    }

    #[test]
    fn a_reference_taken_in_vain_does_not_prolong_the_rest() {
        let mut interned = interned(1);
        take(&mut interned, "a", NOW);
        interned.release(1, NOW);
        take(&mut interned, "a", NOW + REST / 2);
        assert!(interned.cancel(1));
        assert_eq!(take(&mut interned, "b", NOW + REST), Some(1));
    }

    #[test]
    fn an_adopted_id_without_a_name_can_be_given_one_once() {
        let used = Used::from([(3, (None, 1))]);
        let mut interned = Interned::adopt(Ids::adopt(5, &BTreeSet::from([3]), NOW, None), used);
        assert_eq!(interned.name(3, &"a"), Some(Taken { id: 3, first: false }));
        assert_eq!(interned.name(3, &"b"), None);
        assert_eq!(take(&mut interned, "a", NOW), Some(3));
    }
}

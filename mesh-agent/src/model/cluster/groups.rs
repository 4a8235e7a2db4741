//! Sets by key, without empty ones: the shape of every index here.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Sets of `V` by `K`.
#[derive(Clone, Debug)]
pub(super) struct Groups<K, V>(HashMap<K, BTreeSet<V>>);

impl<K, V> Default for Groups<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Ord> Groups<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.0.entry(key).or_default().insert(value);
    }

    pub(super) fn remove<Q, W>(&mut self, key: &Q, value: &W)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
        V: Borrow<W>,
        W: Ord + ?Sized,
    {
        if let Some(group) = self.0.get_mut(key) {
            group.remove(value);
            if group.is_empty() {
                self.0.remove(key);
            }
        }
    }

    pub(super) fn get<Q>(&self, key: &Q) -> impl Iterator<Item = &V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.get(key).into_iter().flatten()
    }

    pub(super) fn len<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.get(key).map_or(0, BTreeSet::len)
    }
}

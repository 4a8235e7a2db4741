//! Sets by key, without empty ones: the shape of every index here. Most hold one thing only, which then needs no
//! set: there are hundreds of thousands of them.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::Hash;
use std::mem;

/// Sets of `V` by `K`.
#[derive(Clone, Debug)]
pub struct Groups<K, V>(HashMap<K, Group<V>>);

/// A set that is not empty.
#[derive(Clone, Debug)]
enum Group<V> {
    One(V),
    Many(#[allow(clippy::box_collection, reason = "keeps the frequent case small")] Box<BTreeSet<V>>),
}

impl<V: Ord> Group<V> {
    fn insert(&mut self, value: V) {
        match self {
            Self::Many(many) => drop(many.insert(value)),
            Self::One(one) if *one == value => {}
            Self::One(_) => {
                let former = mem::replace(self, Self::Many(Box::default()));
                self.insert(value);
                if let Self::One(one) = former {
                    self.insert(one);
                }
            }
        }
    }
}

impl<K, V> Default for Groups<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Ord> Groups<K, V> {
    /// Adds to the set of a key.
    pub fn insert(&mut self, key: K, value: V) {
        match self.0.entry(key) {
            Entry::Vacant(slot) => drop(slot.insert(Group::One(value))),
            Entry::Occupied(slot) => slot.into_mut().insert(value),
        }
    }

    /// Takes from the set of a key.
    pub fn remove<Q, W>(&mut self, key: &Q, value: &W)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
        V: Borrow<W>,
        W: Ord + ?Sized,
    {
        let Some(group) = self.0.get_mut(key) else { return };
        let last = match group {
            Group::One(one) => (*one).borrow() == value,
            Group::Many(many) => {
                many.remove(value);
                if many.len() == 1
                    && let Some(one) = many.pop_first()
                {
                    *group = Group::One(one);
                }
                false
            }
        };
        if last {
            self.0.remove(key);
        }
    }

    /// The set of a key, in order.
    pub fn get<Q>(&self, key: &Q) -> impl Iterator<Item = &V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (one, many) = match self.0.get(key) {
            None => (None, None),
            Some(Group::One(one)) => (Some(one), None),
            Some(Group::Many(many)) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The keys of all sets, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// How many the set of a key has.
    pub fn len<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        match self.0.get(key) {
            None => 0,
            Some(Group::One(_)) => 1,
            Some(Group::Many(many)) => many.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_each_thing_once_and_in_order() {
        let mut groups = Groups::default();
        for value in [2, 1, 2, 3, 1] {
            groups.insert("a", value);
        }
        groups.insert("b", 7);
        groups.insert("b", 7);
        let all = |groups: &Groups<&str, i32>, key: &str| groups.get(key).copied().collect::<Vec<_>>();
        assert_eq!((all(&groups, "a"), groups.len("a")), (vec![1, 2, 3], 3));
        assert_eq!((all(&groups, "b"), groups.len("b")), (vec![7], 1));
        assert_eq!((all(&groups, "c"), groups.len("c")), (vec![], 0));
    }

    #[test]
    fn what_is_taken_is_gone_and_empty_sets_are_not_kept() {
        let mut groups = Groups::default();
        for value in 0..4 {
            groups.insert("a", value);
        }
        for (gone, left) in [(9, 4), (1, 3), (3, 2), (0, 1), (0, 1), (2, 0), (2, 0)] {
            groups.remove("a", &gone);
            assert_eq!(groups.len("a"), left, "without {gone}");
        }
        assert!(groups.0.is_empty());
        groups.insert("a", 5);
        assert_eq!(groups.get("a").collect::<Vec<_>>(), [&5]);
    }
}

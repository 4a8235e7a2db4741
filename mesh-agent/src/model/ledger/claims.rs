//! Keys that several objects may want at a time, such as an address that a new pod has taken over.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A table of the kernel in which every entry is one workload's. The latest to claim a key has it; the
/// others get it back when the latest lets go.
#[derive(Clone, Debug)]
pub(super) struct Claims<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Earlier claims, latest last.
    earlier: HashMap<K, Vec<Claim<V>>>,
}

/// What the kernel holds.
#[derive(Clone, Copy, Debug)]
struct Entry<V> {
    value: V,
    holder: Holder,
}

/// Whose an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holder {
    /// A workload's, by its id.
    Claimed(u32),
    /// A previous agent's, for a workload with that id; id 0 for an entry that makes no sense.
    Adopted(u32),
}

#[derive(Clone, Copy, Debug)]
struct Claim<V> {
    workload: u32,
    value: V,
}

/// The consequence of a claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Claimed<V> {
    /// What must be written.
    pub(super) write: Option<V>,
    /// The workload id that a previous agent's entry had and that is no longer referred to.
    pub(super) displaced: Option<u32>,
}

/// The consequence of letting go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LetGo<V> {
    /// Another one has the key: nothing to write.
    Nothing,
    /// An earlier claim is good again.
    HandBack(V),
    /// Nobody wants the key.
    Remove,
}

impl<K: Copy + Eq + Hash + Ord, V: Copy + Eq> Claims<K, V> {
    /// The entries of a previous agent, each with the workload id it refers to (0: it makes no sense).
    pub(super) fn adopt(entries: impl Iterator<Item = (K, V, u32)>) -> Self {
        let entry = |(key, value, workload)| {
            let holder = Holder::Adopted(workload);
            (key, Entry { value, holder })
        };
        Self {
            entries: entries.map(entry).collect(),
            earlier: HashMap::new(),
        }
    }

    /// Claims a key for a workload. One that has claimed it before changes what it claims and no more: it
    /// does not take the key back from a later one.
    pub(super) fn claim(&mut self, key: K, workload: u32, value: V) -> Claimed<V> {
        let earlier = self.earlier.get_mut(&key).into_iter().flatten();
        if let Some(claim) = earlier.into_iter().find(|claim| claim.workload == workload) {
            claim.value = value;
            return Claimed {
                write: None,
                displaced: None,
            };
        }
        let holder = Holder::Claimed(workload);
        let former = self.entries.insert(key, Entry { value, holder });
        let mut displaced = None;
        match former.map(|entry| (entry.holder, entry.value)) {
            Some((Holder::Claimed(other), value)) if other != workload => {
                let claim = Claim {
                    workload: other,
                    value,
                };
                self.earlier.entry(key).or_default().push(claim);
            }
            Some((Holder::Adopted(id), _)) if id != 0 => displaced = Some(id),
            _ => {}
        }
        let write = former.is_none_or(|entry| entry.value != value);
        Claimed {
            write: write.then_some(value),
            displaced,
        }
    }

    /// Gives up a workload's claim.
    pub(super) fn let_go(&mut self, key: K, workload: u32) -> LetGo<V> {
        let mut earlier = self.earlier.remove(&key).unwrap_or_default();
        earlier.retain(|claim| claim.workload != workload);
        let holds = self
            .entries
            .get(&key)
            .is_some_and(|entry| entry.holder == Holder::Claimed(workload));
        let next = if holds { earlier.pop() } else { None };
        if !earlier.is_empty() {
            self.earlier.insert(key, earlier);
        }
        match next {
            Some(Claim { workload, value }) => {
                let holder = Holder::Claimed(workload);
                self.entries.insert(key, Entry { value, holder });
                LetGo::HandBack(value)
            }
            None if holds => {
                self.entries.remove(&key);
                LetGo::Remove
            }
            None => LetGo::Nothing,
        }
    }

    /// Takes out what a previous agent left and nobody has claimed: each key with its workload id.
    pub(super) fn retire(&mut self) -> BTreeMap<K, u32> {
        let mut retired = BTreeMap::new();
        self.entries.retain(|&key, entry| match entry.holder {
            Holder::Claimed(_) => true,
            Holder::Adopted(id) => {
                retired.insert(key, id);
                false
            }
        });
        retired
    }

    /// Whether the kernel has an entry for the key.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// What the kernel has for the key.
    pub(super) fn value(&self, key: &K) -> Option<V> {
        self.entries.get(key).map(|entry| entry.value)
    }

    /// Number of entries in the kernel.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the kernel holds, sorted, without what makes no sense.
    pub(super) fn entries(&self) -> Vec<(K, V)> {
        let sound = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.holder != Holder::Adopted(0));
        let mut entries: Vec<_> = sound.map(|(&key, entry)| (key, entry.value)).collect();
        entries.sort_unstable_by_key(|&(key, _)| key);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopted(entries: &[(u8, char, u32)]) -> Claims<u8, char> {
        Claims::adopt(entries.iter().copied())
    }

    fn written(value: char) -> Claimed<char> {
        Claimed {
            write: Some(value),
            displaced: None,
        }
    }

    const NOTHING: Claimed<char> = Claimed {
        write: None,
        displaced: None,
    };

    #[test]
    fn a_key_taken_over_is_not_removed_by_its_former_holder() {
        let mut claims = adopted(&[]);
        assert_eq!(claims.claim(1, 10, 'a'), written('a'));
        assert_eq!(claims.claim(1, 11, 'b'), written('b'));
        assert_eq!(claims.let_go(1, 10), LetGo::Nothing);
        assert_eq!(claims.let_go(1, 11), LetGo::Remove);
        assert_eq!(claims.len(), 0);
    }

    #[test]
    fn the_former_holder_gets_it_back_and_does_not_steal_it_before() {
        let mut claims = adopted(&[]);
        claims.claim(1, 10, 'a');
        claims.claim(1, 11, 'b');
        assert_eq!(claims.claim(1, 10, 'A'), NOTHING);
        assert_eq!(claims.let_go(1, 11), LetGo::HandBack('A'));
        assert_eq!(claims.claim(1, 10, 'A'), NOTHING);
    }

    #[test]
    fn what_a_previous_agent_left_is_claimed_without_a_write_or_retired() {
        let mut claims = adopted(&[(1, 'a', 10), (2, 'b', 11), (3, '?', 0)]);
        let claimed = claims.claim(1, 10, 'a');
        assert_eq!((claimed.write, claimed.displaced), (None, Some(10)));
        assert_eq!(claims.entries(), [(1, 'a'), (2, 'b')]);
        assert_eq!(claims.retire(), BTreeMap::from([(2, 11), (3, 0)]));
        assert_eq!(claims.entries(), [(1, 'a')]);
    }
}

//! A label within a namespace, to find by it what has it or asks for it.

use crate::model::groups::Groups;
use crate::model::object::Labels;

/// One label, key and value, of one namespace.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Pair(Box<str>);

impl Pair {
    pub(super) fn new(namespace: &str, key: &str, value: &str) -> Self {
        // None of the three can contain a NUL: not in YAML, nor in JSON from an API server.
        Self([namespace, key, value].join("\0").into_boxed_str())
    }

    pub(super) fn all(namespace: &str, labels: &Labels) -> impl Iterator<Item = Self> {
        labels
            .iter()
            .map(move |(key, value)| Self::new(namespace, key, value))
    }
}

/// The label of a selector that the fewest have, so that little is left to look through.
pub(super) fn rarest<V: Ord>(namespace: &str, selector: &Labels, index: &Groups<Pair, V>) -> Option<Pair> {
    Pair::all(namespace, selector).min_by_key(|pair| index.len(pair))
}

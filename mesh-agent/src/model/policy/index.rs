//! Finds the selectors that may take a pod without trying all of them.

use std::collections::HashMap;

use crate::model::object::Labels;
use crate::model::object::network_policy::Selector;

/// Items by the namespace they are about, or none, and by a label that every pod they are about has, or none.
#[derive(Debug)]
pub(super) struct Index<'a>(HashMap<Key<'a>, Vec<usize>>);

type Key<'a> = (Option<&'a str>, Option<(&'a str, &'a str)>);

impl<'a> Index<'a> {
    pub(super) fn new(items: impl Iterator<Item = (usize, Option<&'a str>, &'a Selector)>) -> Self {
        let mut index: HashMap<Key<'a>, Vec<usize>> = HashMap::new();
        for (item, namespace, selector) in items {
            match selector.pairs() {
                None => index.entry((namespace, None)).or_default().push(item),
                Some(pairs) => {
                    for pair in pairs {
                        index.entry((namespace, Some(pair))).or_default().push(item);
                    }
                }
            }
        }
        Self(index)
    }

    /// The items whose selector may take a pod of a namespace with these labels; each once.
    pub(super) fn candidates<'b>(
        &'b self,
        namespace: &'b str,
        labels: &'b Labels,
    ) -> impl Iterator<Item = usize> {
        let pairs = || std::iter::once(None).chain(labels.iter().map(Some));
        let keys = [None, Some(namespace)]
            .into_iter()
            .flat_map(move |namespace| pairs().map(move |pair| (namespace, pair)));
        keys.filter_map(|key| self.0.get(&key)).flatten().copied()
    }
}

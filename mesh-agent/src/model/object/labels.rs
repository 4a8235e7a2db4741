//! Labels of an object, or those a selector asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Labels in the order of their keys. They lie in one piece of memory: every pod has a handful of short ones. A copy
/// costs none: services and policies look at the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Labels(
    /// Key, value, key, value ... each with [`END`] behind it.
    Arc<str>,
);

/// Stands behind every key and value; no API server takes one in either.
const END: char = '\0';

impl Labels {
    /// All labels, key and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split_terminator(END);
        std::iter::from_fn(move || parts.next().zip(parts.next()))
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Labels {
    fn default() -> Self {
        BTreeMap::new().into()
    }
}

impl From<BTreeMap<String, String>> for Labels {
    /// A label that no API server would take is none.
    fn from(labels: BTreeMap<String, String>) -> Self {
        let mut text = String::new();
        for (key, value) in labels {
            if ![&key, &value].iter().any(|part| part.contains(END)) {
                text.extend([&key, "\0", &value, "\0"]);
            }
        }
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_out_as_they_went_in() {
        for pairs in [
            vec![],
            vec![("", "")],
            vec![("app", "web")],
            vec![("a", ""), ("app", "web"), ("tier", "app"), ("täg", "ü")],
        ] {
            let owned = pairs
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()));
            let labels = Labels::from(owned.collect::<BTreeMap<_, _>>());
            assert_eq!(labels.iter().collect::<Vec<_>>(), pairs);
            assert_eq!(labels.is_empty(), pairs.is_empty());
            for (key, value) in pairs {
                assert_eq!(labels.get(key), Some(value));
            }
            assert_eq!(labels.get("web"), None);
        }
    }

    #[test]
    fn where_a_key_ends_matters() {
        let one = |key: &str, value: &str| Labels::from(BTreeMap::from([(key.to_owned(), value.to_owned())]));
        assert_ne!(one("ab", "c"), one("a", "bc"));
        assert_eq!(one("ab", "c").get("a"), None);
    }

    #[test]
    fn what_no_server_takes_is_no_label() {
        let pairs = [("a\0b", "c"), ("app", "web"), ("d", "\0")];
        let owned = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = Labels::from(BTreeMap::from(owned));
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("app", "web")]);
    }

    #[test]
    fn copies_lie_in_the_same_memory() {
        let labels = Labels::from(BTreeMap::from([("app".to_owned(), "web".to_owned())]));
        assert_eq!(
            labels.get("app").map(str::as_ptr),
            labels.clone().get("app").map(str::as_ptr)
        );
        assert_eq!(size_of::<Labels>(), 16);
    }
}

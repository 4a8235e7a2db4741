//! Labels of a pod, or those a selector asks for.

use std::collections::BTreeMap;

/// Labels in the order of their keys. They lie in one piece of memory: every pod has a handful of short ones.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Labels {
    /// Key, value, key, value ... without anything in between.
    text: Box<str>,
    /// Where each of them ends.
    ends: Box<[(usize, usize)]>,
}

impl Labels {
    /// All labels, key and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&(_, end)| end));
        starts
            .zip(&self.ends)
            .map(|(start, &(middle, end))| (&self.text[start..middle], &self.text[middle..end]))
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        let mut text = String::new();
        let ends = labels.into_iter().map(|(key, value)| {
            text.push_str(&key);
            let middle = text.len();
            text.push_str(&value);
            (middle, text.len())
        });
        let ends = ends.collect();
        Self {
            text: text.into_boxed_str(),
            ends,
        }
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
}

//! Sets of fields, and `FieldsV1`, the way objects write them down.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of paths. A step is written as in `FieldsV1`: `f:name` is a field, `k:{"name":"web"}` an item of a list by
/// its keys, `v:"a"` an item of a set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields(BTreeMap<String, Node>);

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Node {
    /// Whether the path up to here is in the set itself.
    member: bool,
    below: Fields,
}

impl Fields {
    /// Whether no path is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let node = self.0.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Whether the path is in it.
    #[must_use]
    pub fn contains(&self, path: &[String]) -> bool {
        self.node(path).is_some_and(|node| node.member)
    }

    /// Whether the path, or one below it, is in it.
    #[must_use]
    pub fn touches(&self, path: &[String]) -> bool {
        self.node(path).is_some()
    }

    fn node(&self, path: &[String]) -> Option<&Node> {
        let (first, rest) = path.split_first()?;
        let node = self.0.get(first)?;
        if rest.is_empty() {
            Some(node)
        } else {
            node.below.node(rest)
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for path in other.paths() {
            all.insert(&path);
        }
        all
    }

    /// What is in this one only.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.filtered(|path| !other.contains(path))
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.filtered(|path| other.contains(path))
    }

    fn filtered(&self, keep: impl Fn(&[String]) -> bool) -> Self {
        let mut some = Self::default();
        for path in self.paths().iter().filter(|path| keep(path)) {
            some.insert(path);
        }
        some
    }

    /// All of it, a path before those below it.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
        for (step, node) in &self.0 {
            prefix.push(step.clone());
            if node.member {
                paths.push(prefix.clone());
            }
            node.below.collect(prefix, paths);
            prefix.pop();
        }
    }

    /// As `fieldsV1`.
    #[must_use]
    pub fn write(&self) -> Value {
        let step = |(step, node): (&String, &Node)| {
            let mut below = node.below.write();
            if node.member && !node.below.is_empty() {
                below["."] = Map::new().into();
            }
            (step.clone(), below)
        };
        Value::Object(self.0.iter().map(step).collect())
    }

    /// From `fieldsV1`.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let steps = value.as_object().into_iter().flatten();
        let steps = steps.filter(|(step, _)| *step != ".").map(|(step, value)| {
            let below = Self::read(value);
            let member = below.is_empty() || value.get(".").is_some();
            (step.clone(), Node { member, below })
        });
        Self(steps.collect())
    }
}

/// For people: `.spec.ports[port=80,protocol="TCP"].name`.
#[must_use]
pub fn display(path: &[String]) -> String {
    path.iter().map(|step| show(step)).collect()
}

fn show(step: &str) -> String {
    match step.split_once(':') {
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some((_, field)) => format!(".{field}"),
        None => step.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let text = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
        });
        let fields = Fields::read(&text);
        assert_eq!(fields.write(), text);
        let shown: Vec<_> = fields.paths().iter().map(|path| display(path)).collect();
        assert_eq!(
            shown,
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port"
            ]
        );
    }

    #[test]
    fn sets_are_sets() {
        let a = Fields::read(&json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}}));
        let b = Fields::read(&json!({"f:a": {"f:b": {}}, "f:d": {}}));
        assert_eq!(a.difference(&b).write(), json!({"f:a": {".": {}, "f:c": {}}}));
        assert_eq!(a.intersection(&b).write(), json!({"f:a": {"f:b": {}}}));
        assert_eq!(
            a.union(&b).write(),
            json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}})
        );
        assert!(b.touches(&["f:a".into()]) && !b.contains(&["f:a".into()]));
        assert!(a.difference(&a).is_empty());
    }
}

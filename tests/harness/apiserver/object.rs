//! An object as it is kept: bytes, and what is selected by.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use serde_json::{Map, Value};

use super::resource::Resource;

/// An object at one version. The bytes are made once and shared by every list and watch.
#[derive(Debug)]
pub struct Object {
    /// What it is.
    pub resource: &'static Resource,
    /// Namespace; empty at cluster scope.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version that wrote it.
    pub version: u64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Values of [`Resource::selectable`], in that order.
    pub selectable: Vec<String>,
    /// JSON without `kind` and `apiVersion`.
    bare: Bytes,
}

impl Object {
    /// Keeps `value`; `kind` and `apiVersion` are taken out, and `resourceVersion` is set.
    #[must_use]
    pub fn new(resource: &'static Resource, mut value: Value, version: u64) -> Self {
        if let Some(map) = value.as_object_mut() {
            map.remove("kind");
            map.remove("apiVersion");
        }
        value["metadata"]["resourceVersion"] = version.to_string().into();
        let metadata = &value["metadata"];
        let labels = metadata["labels"].as_object().into_iter().flatten();
        Self {
            resource,
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            version,
            labels: labels.map(|(key, label)| (key.clone(), text(label))).collect(),
            selectable: resource
                .selectable
                .iter()
                .map(|path| text(at(&value, path)))
                .collect(),
            bare: Bytes::from(value.to_string()),
        }
    }

    /// Where it is kept: etcd's key, whose order is that of lists.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.namespace, &self.name)
    }

    /// Parsed, without `kind` and `apiVersion`.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bare).unwrap_or(Value::Object(Map::new()))
    }

    /// As an item of a list: only those of custom resources name their kind.
    pub fn write_item(&self, into: &mut Vec<u8>) {
        if self.resource.custom {
            self.write(into);
        } else {
            into.extend_from_slice(&self.bare);
        }
    }

    /// On its own, with `kind` and `apiVersion`.
    pub fn write(&self, into: &mut Vec<u8>) {
        let (kind, api_version) = (self.resource.kind, self.resource.api_version());
        into.extend_from_slice(format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","#).as_bytes());
        into.extend_from_slice(&self.bare[1..]);
    }

    /// Whether this text stands in its JSON.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.bare
            .windows(text.len())
            .any(|piece| piece == text.as_bytes())
    }

    /// The same content at another version.
    #[must_use]
    pub fn at_version(&self, version: u64) -> Self {
        Self::new(self.resource, self.value(), version)
    }
}

/// etcd's key below the resource: `a-b/x` comes before `a/x`.
#[must_use]
pub fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.into()
    } else {
        format!("{namespace}/{name}")
    }
}

/// What stands at `a.b.c`; null if nothing.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, field| &value[field])
}

/// As field selectors see it: nothing is the empty string.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resource::named;
    use super::*;

    #[test]
    fn items_name_their_kind_only_for_custom_resources() {
        let value = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "b"}});
        let parse = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).expect("JSON");
        for (plural, kind) in [("pods", Value::Null), ("gateways", json!("Gateway"))] {
            let object = Object::new(named(plural).expect("known"), value.clone(), 7);
            let (mut item, mut whole) = (Vec::new(), Vec::new());
            object.write_item(&mut item);
            object.write(&mut whole);
            assert_eq!(parse(item)["kind"], kind);
            let whole = parse(whole);
            assert_eq!(whole["metadata"]["resourceVersion"], "7");
            assert_eq!(whole["kind"], object.resource.kind);
        }
    }

    #[test]
    fn selectable_fields_are_read_once() {
        let value =
            json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
        let object = Object::new(named("pods").expect("known"), value, 1);
        assert_eq!(object.selectable[0], "n");
        assert_eq!(object.selectable[5], "Running");
        assert_eq!(object.selectable[6], "");
    }
}

//! How the fields of objects merge: which lists have keys, which maps are one piece.
//!
//! A list that is not named here is one piece, a map is not: that is what a schema without marks says.

use serde_json::{Map, Value};

use super::resource::Resource;

/// Keys of the items of a list, each with the value of an item that lacks it.
pub type Keys = &'static [(&'static str, Option<&'static str>)];

/// How a value merges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// As a whole.
    Leaf,
    /// Field by field.
    Map,
    /// Item by item, found by these keys.
    Keyed(Keys),
    /// Item by item, each its own key.
    Set,
}

const NAME: Keys = &[("name", None)];
const TYPE: Keys = &[("type", None)];
const IP: Keys = &[("ip", None)];
const UID: Keys = &[("uid", None)];
const SERVICE_PORT: Keys = &[("port", None), ("protocol", Some("TCP"))];
const CONTAINER_PORT: Keys = &[("containerPort", None), ("protocol", Some("TCP"))];
const MOUNT: Keys = &[("mountPath", None)];

/// Kind (`*` for any), path without list items, shape.
const MARKS: &[(&str, &str, Shape)] = &[
    ("*", "metadata.finalizers", Shape::Set),
    ("*", "metadata.ownerReferences", Shape::Keyed(UID)),
    ("*", "metadata.ownerReferences[]", Shape::Leaf),
    ("*", "status.conditions", Shape::Keyed(TYPE)),
    ("Pod", "spec.containers", Shape::Keyed(NAME)),
    ("Pod", "spec.containers.ports", Shape::Keyed(CONTAINER_PORT)),
    ("Pod", "spec.containers.env", Shape::Keyed(NAME)),
    ("Pod", "spec.containers.env.valueFrom.fieldRef", Shape::Leaf),
    (
        "Pod",
        "spec.containers.env.valueFrom.configMapKeyRef",
        Shape::Leaf,
    ),
    ("Pod", "spec.containers.env.valueFrom.secretKeyRef", Shape::Leaf),
    ("Pod", "spec.containers.volumeMounts", Shape::Keyed(MOUNT)),
    ("Pod", "spec.initContainers", Shape::Keyed(NAME)),
    ("Pod", "spec.initContainers.ports", Shape::Keyed(CONTAINER_PORT)),
    ("Pod", "spec.initContainers.env", Shape::Keyed(NAME)),
    ("Pod", "spec.initContainers.volumeMounts", Shape::Keyed(MOUNT)),
    ("Pod", "spec.volumes", Shape::Keyed(NAME)),
    ("Pod", "spec.imagePullSecrets", Shape::Keyed(NAME)),
    ("Pod", "spec.imagePullSecrets[]", Shape::Leaf),
    ("Pod", "spec.hostAliases", Shape::Keyed(IP)),
    ("Pod", "spec.nodeSelector", Shape::Leaf),
    ("Pod", "status.podIPs", Shape::Keyed(IP)),
    ("Pod", "status.hostIPs", Shape::Leaf),
    ("Service", "spec.ports", Shape::Keyed(SERVICE_PORT)),
    ("Service", "spec.selector", Shape::Leaf),
    ("Node", "spec.podCIDRs", Shape::Set),
    ("Node", "status.addresses", Shape::Keyed(TYPE)),
    ("ServiceAccount", "secrets", Shape::Keyed(NAME)),
    ("Event", "involvedObject", Shape::Leaf),
    ("Event", "regarding", Shape::Leaf),
    ("Event", "related", Shape::Leaf),
    ("NetworkPolicy", "spec.podSelector", Shape::Leaf),
    ("GatewayClass", "status.supportedFeatures", Shape::Keyed(NAME)),
    ("Gateway", "spec.listeners", Shape::Keyed(NAME)),
    ("Gateway", "status.listeners", Shape::Keyed(NAME)),
    ("Gateway", "status.listeners.conditions", Shape::Keyed(TYPE)),
];

/// Fields that the Go types always have: they are never added, only what is in them.
const PRESENT: &[(&str, &str)] = &[
    ("*", "metadata"),
    ("*", "spec"),
    ("*", "status"),
    ("Pod", "spec.containers"),
    ("Service", "status.loadBalancer"),
    ("Node", "status.nodeInfo"),
    ("Node", "status.daemonEndpoints"),
    ("Node", "status.daemonEndpoints.kubeletEndpoint"),
];

/// A place in the objects of a resource.
#[derive(Clone, Debug)]
pub struct Place {
    resource: &'static Resource,
    path: String,
    /// In an item of the list at `path`.
    item: bool,
}

impl Place {
    /// The object itself.
    #[must_use]
    pub fn root(resource: &'static Resource) -> Self {
        Self {
            resource,
            path: String::new(),
            item: false,
        }
    }

    /// A field of it.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            resource: self.resource,
            path: format!("{}{dot}{name}", self.path),
            item: false,
        }
    }

    /// An item of it.
    #[must_use]
    pub fn item(&self) -> Self {
        Self {
            item: true,
            ..self.clone()
        }
    }

    /// How a value at this place merges. One that is empty is a leaf.
    #[must_use]
    pub fn shape(&self, value: &Value) -> Shape {
        let empty = match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => true,
        };
        if empty {
            return Shape::Leaf;
        }
        let path = if self.item {
            format!("{}[]", self.path)
        } else {
            self.path.clone()
        };
        let fits = |(kind, known, _): &&(&str, &str, Shape)| self.of(kind) && *known == path;
        match (MARKS.iter().find(fits), value) {
            (Some((_, _, shape)), _) => *shape,
            (None, Value::Object(_)) => Shape::Map,
            (None, _) => Shape::Leaf,
        }
    }

    /// Whether the Go type always has it.
    #[must_use]
    pub fn present(&self) -> bool {
        if self.path == "metadata" {
            return true;
        }
        !self.resource.custom
            && !self.item
            && PRESENT
                .iter()
                .any(|(kind, path)| self.of(kind) && *path == self.path)
    }

    fn of(&self, kind: &str) -> bool {
        kind == "*" || kind == self.resource.kind
    }
}

/// The step to an item of a list with keys; `None` if a key is missing.
#[must_use]
pub fn key_step(keys: Keys, item: &Value) -> Option<String> {
    let mut found = Map::new();
    for (key, default) in keys {
        let value = match (item.get(key), default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => (*default).into(),
            (None, None) => return None,
        };
        found.insert((*key).into(), value);
    }
    Some(format!("k:{}", Value::Object(found)))
}

/// The step to an item of a set.
#[must_use]
pub fn value_step(item: &Value) -> String {
    format!("v:{item}")
}

/// The steps to the items of a list of this shape; items without keys have none.
#[must_use]
pub fn steps(shape: Shape, list: &Value) -> Vec<(String, &Value)> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| match shape {
            Shape::Keyed(keys) => Some((key_step(keys, item)?, item)),
            _ => Some((value_step(item), item)),
        })
        .collect()
}

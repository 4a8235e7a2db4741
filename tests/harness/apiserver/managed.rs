//! `metadata.managedFields`: which manager set which fields.

use serde_json::{Value, json};

use super::compare::{Comparison, compare, fields_of};
use super::fields::{Fields, display};
use super::resource::Resource;
use super::write::{Writer, empty, metadata};

/// How a manager writes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Operation {
    /// Says all it wants, each time.
    Apply,
    /// Changes something.
    Update,
}

/// One manager's fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    manager: String,
    operation: Operation,
    api_version: String,
    subresource: String,
    time: String,
    /// What it set.
    pub fields: Fields,
}

impl Entry {
    /// The writer's, with nothing yet.
    #[must_use]
    pub fn of(resource: &Resource, writer: &Writer, operation: Operation) -> Self {
        Self {
            manager: writer.manager.clone(),
            operation,
            api_version: resource.api_version(),
            subresource: if writer.status {
                "status".into()
            } else {
                String::new()
            },
            time: writer.now.clone(),
            fields: Fields::default(),
        }
    }

    /// Whether both are the same manager's, writing in the same way.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.api_version == other.api_version
            && self.subresource == other.subresource
    }

    /// As conflicts name it.
    #[must_use]
    pub fn who(&self) -> String {
        let part = match self.subresource.as_str() {
            "" => String::new(),
            subresource => format!(" with subresource {subresource:?}"),
        };
        match self.operation {
            Operation::Apply => format!("{:?}{part}", self.manager),
            Operation::Update => format!("{:?}{part} using {}", self.manager, self.api_version),
        }
    }

    fn read(value: &Value) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        Self {
            manager: text("manager"),
            operation: if value["operation"] == "Apply" {
                Operation::Apply
            } else {
                Operation::Update
            },
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: Fields::read(&value["fieldsV1"]),
        }
    }

    fn write(&self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut value = json!({
            "manager": self.manager, "operation": operation, "apiVersion": self.api_version,
            "time": self.time, "fieldsType": "FieldsV1", "fieldsV1": self.fields.write(),
        });
        if !self.subresource.is_empty() {
            value["subresource"] = self.subresource.as_str().into();
        }
        value
    }
}

/// The entries of an object.
#[must_use]
pub fn entries(value: &Value) -> Vec<Entry> {
    let list = value["metadata"]["managedFields"].as_array();
    list.into_iter().flatten().map(Entry::read).collect()
}

/// Writes entries into an object: those with fields, in the server's order.
pub fn set(value: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let order = |entry: &Entry| (entry.operation, entry.time.clone(), entry.manager.clone());
        order(a).cmp(&order(b))
    });
    let metadata = metadata(value);
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        let list = entries.iter().map(Entry::write).collect();
        metadata.insert("managedFields".into(), Value::Array(list));
    }
}

/// Notes what an update changed as the writer's. Objects that nobody's fields were noted of stay so until they are
/// applied to.
pub fn update(resource: &'static Resource, before: &Value, value: &mut Value, writer: &Writer) {
    let new = before["metadata"]["uid"].is_null();
    if !new && empty(value["metadata"].get("managedFields")) && empty(before["metadata"].get("managedFields"))
    {
        return;
    }
    let compared = compare(resource, before, value);
    let mut entries = entries(value);
    take(
        &mut entries,
        &Entry::of(resource, writer, Operation::Update),
        &compared,
    );
    set(value, entries);
}

/// Gives what changed to one manager, and takes it from the others.
fn take(entries: &mut Vec<Entry>, owner: &Entry, compared: &Comparison) {
    let set = compared.set();
    if !set.is_empty() && !entries.iter().any(|entry| entry.same_as(owner)) {
        entries.push(owner.clone());
    }
    let changed = !set.is_empty() || !compared.removed.is_empty();
    for entry in entries {
        entry.fields = entry.fields.difference(&compared.removed);
        if !entry.same_as(owner) {
            entry.fields = entry.fields.difference(&set);
        } else if changed {
            entry.fields = entry.fields.union(&set);
            entry.time.clone_from(&owner.time);
        }
    }
}

/// Fields of others that a change sets: pairs of who, and which.
#[must_use]
pub fn conflicts(entries: &[Entry], owner: &Entry, compared: &Comparison) -> Vec<(String, String)> {
    let set = compared.set();
    let mut found: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.same_as(owner))
        .flat_map(|entry| {
            let both = entry.fields.intersection(&set).paths();
            both.into_iter().map(|path| (entry.who(), display(&path)))
        })
        .collect();
    found.sort();
    found
}

/// The entries after an apply that came to `compared`, with `applied` as the owner's fields.
pub fn apply(entries: &mut Vec<Entry>, owner: &Entry, applied: Fields, compared: &Comparison) {
    let set = compared.set();
    let mut own = owner.clone();
    for entry in entries.iter_mut().filter(|entry| !entry.same_as(owner)) {
        entry.fields = entry.fields.difference(&compared.removed).difference(&set);
    }
    let old = entries.iter().position(|entry| entry.same_as(owner));
    if let Some(old) = old.map(|at| entries.remove(at))
        && old.fields == applied
        && set.is_empty()
        && compared.removed.is_empty()
    {
        own.time = old.time;
    }
    own.fields = applied;
    entries.push(own);
}

/// Who is said to have set everything in an object that nobody's fields were noted of.
#[must_use]
pub fn before_first_apply(resource: &'static Resource, value: &Value, writer: &Writer) -> Entry {
    let unknown = Writer {
        manager: "before-first-apply".into(),
        status: false,
        ..writer.clone()
    };
    Entry {
        fields: fields_of(resource, value),
        ..Entry::of(resource, &unknown, Operation::Update)
    }
}

/// Whether two versions differ in nothing but when managers wrote.
#[must_use]
pub fn same(before: &Value, value: &Value) -> bool {
    timeless(before) == timeless(value)
}

fn timeless(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    let managed = value
        .pointer_mut("/metadata/managedFields")
        .and_then(Value::as_array_mut);
    for entry in managed.into_iter().flatten() {
        entry["time"].take();
    }
    value
}

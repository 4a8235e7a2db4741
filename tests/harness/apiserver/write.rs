//! Creating and replacing objects: what the server adds, keeps and refuses.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::checks::{check_home, check_kind, check_name, check_namespace, check_version};
use super::compare::fields_of;
use super::defaults;
use super::failure::{Answer, Failure};
use super::managed::{self, Entry, Operation};
use super::object::{Object, key};
use super::resource::{Resource, Status};
use super::route::Target;
use super::store::Store;

/// Who writes, when, and which part.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Name in `managedFields`.
    pub manager: String,
    /// Time, RFC 3339.
    pub now: String,
    /// Only `status`.
    pub status: bool,
    /// Do everything but write.
    pub dry_run: bool,
}

impl Writer {
    /// Writes, unless it is only to be tried.
    fn put(&self, store: &mut Store, resource: &'static Resource, value: Value) -> Arc<Object> {
        if self.dry_run {
            return Arc::new(Object::new(resource, value, store.version()));
        }
        store.put(resource, value)
    }
}

/// What the server keeps, whatever a writer sends.
const KEPT: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

/// Makes a new object.
pub fn create(store: &mut Store, target: &Target, value: Value, writer: &Writer) -> Answer<Arc<Object>> {
    make(store, target, value, writer, Operation::Update)
}

/// Makes a new object that was applied: its fields are noted so.
pub fn create_applied(
    store: &mut Store,
    target: &Target,
    value: Value,
    writer: &Writer,
) -> Answer<Arc<Object>> {
    make(store, target, value, writer, Operation::Apply)
}

fn make(
    store: &mut Store,
    target: &Target,
    mut value: Value,
    writer: &Writer,
    operation: Operation,
) -> Answer<Arc<Object>> {
    let resource = target.resource;
    check_kind(resource, &mut value)?;
    check_namespace(target, &mut value)?;
    let metadata = metadata(&mut value);
    if metadata
        .get("resourceVersion")
        .is_some_and(|version| version != "")
    {
        return Err(Failure::internal(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if empty(metadata.get("name")) {
        let Some(prefix) = metadata
            .get("generateName")
            .and_then(Value::as_str)
            .filter(|prefix| !prefix.is_empty())
        else {
            const WHAT: &str = "Required value: name or generateName is required";
            return Err(Failure::invalid(resource, "", "metadata.name", WHAT));
        };
        let name = format!("{prefix}{}", super::identity::suffix());
        metadata.insert("name".into(), name.into());
    }
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    check_name(resource, &name)?;
    let key = key(target.namespace.as_deref().unwrap_or_default(), &name);
    if let Some(namespace) = &target.namespace {
        check_home(store, resource, &name, namespace)?;
    }
    if store.get(resource, &key).is_some() {
        return Err(Failure::already_exists(resource, &name));
    }
    for field in KEPT {
        metadata.remove(field);
    }
    if empty(metadata.get("managedFields")) {
        metadata.remove("managedFields");
    }
    metadata.insert("uid".into(), super::identity::uid().into());
    metadata.insert("creationTimestamp".into(), writer.now.as_str().into());
    if resource.generation {
        metadata.insert("generation".into(), 1.into());
    }
    if resource.status == Status::Reset {
        remove(&mut value, "status");
    }
    match operation {
        Operation::Apply => {
            let mut entry = Entry::of(resource, writer, operation);
            entry.fields = fields_of(resource, &value);
            defaults::complete(resource, &mut value);
            managed::set(&mut value, vec![entry]);
        }
        Operation::Update => {
            defaults::complete(resource, &mut value);
            let nothing = json!({"metadata": {}, "status": value.get("status")});
            managed::update(resource, &nothing, &mut value, writer);
        }
    }
    defaults::allocate(store, resource, &mut value);
    Ok(writer.put(store, resource, value))
}

/// Puts an object in the place of the one at the target.
pub fn replace(store: &mut Store, target: &Target, mut value: Value, writer: &Writer) -> Answer<Arc<Object>> {
    let (resource, name) = (target.resource, target.name.as_deref().unwrap_or_default());
    check_kind(resource, &mut value)?;
    check_namespace(target, &mut value)?;
    let given = metadata(&mut value)
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if given != name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let old = find(store, target)?;
    let before = old.value();
    check_version(&old, &value)?;
    keep(resource, &before, &mut value, writer.status);
    if !writer.status {
        defaults::complete(resource, &mut value);
    }
    managed::update(resource, &before, &mut value, writer);
    Ok(commit(store, &old, &before, value, writer))
}

/// The object at a target.
pub fn find(store: &Store, target: &Target) -> Answer<Arc<Object>> {
    let name = target.name.as_deref().unwrap_or_default();
    let key = key(target.namespace.as_deref().unwrap_or_default(), name);
    let found = store.get(target.resource, &key).cloned();
    found.ok_or_else(|| Failure::not_found(target.resource, name))
}

/// Writes what a change came to: nothing if nothing changed, and a removal if it was the last finalizer.
pub fn commit(
    store: &mut Store,
    old: &Arc<Object>,
    before: &Value,
    mut value: Value,
    writer: &Writer,
) -> Arc<Object> {
    let resource = old.resource;
    value["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    if managed::same(before, &value) {
        return old.clone();
    }
    if resource.generation && !writer.status && content(resource, before) != content(resource, &value) {
        let generation = before["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        value["metadata"]["generation"] = generation.into();
    }
    let metadata = &value["metadata"];
    let leaving = !metadata["deletionTimestamp"].is_null() && metadata["deletionGracePeriodSeconds"] == 0;
    if leaving && empty(metadata.get("finalizers")) && !writer.dry_run {
        store.remove(resource, &old.key());
        return Arc::new(Object::new(resource, value, store.version()));
    }
    writer.put(store, resource, value)
}

/// What `generation` counts the changes of.
fn content(resource: &Resource, value: &Value) -> Value {
    let mut value = value.clone();
    let metadata = value["metadata"].take();
    remove(&mut value, "metadata");
    remove(&mut value, "kind");
    remove(&mut value, "apiVersion");
    if resource.has_status() {
        remove(&mut value, "status");
    }
    if resource.kind == "EndpointSlice" {
        // Its labels say whose it is, and count.
        value["labels"] = metadata["labels"].clone();
    }
    value
}

/// What a write does not touch is as it was.
fn keep(resource: &Resource, before: &Value, value: &mut Value, status: bool) {
    if status {
        let (new, managed) = (value["status"].take(), value["metadata"]["managedFields"].take());
        *value = before.clone();
        value["status"] = new;
        if !empty(Some(&managed)) {
            value["metadata"]["managedFields"] = managed;
        }
        return;
    }
    if resource.has_status() {
        remove(value, "status");
        if let Some(status) = before.get("status") {
            value["status"] = status.clone();
        }
    }
    let metadata = metadata(value);
    for field in KEPT {
        metadata.remove(field);
        if let Some(old) = before["metadata"].get(field) {
            metadata.insert(field.into(), old.clone());
        }
    }
    // An empty entry asks for a reset; none at all says that the writer does not know of them.
    match metadata.get("managedFields") {
        Some(given) if *given == json!([{}]) => {
            metadata.remove("managedFields");
        }
        given if empty(given) => {
            metadata.insert(
                "managedFields".into(),
                before["metadata"]["managedFields"].clone(),
            );
            if before["metadata"]["managedFields"].is_null() {
                metadata.remove("managedFields");
            }
        }
        _ => {}
    }
}

/// `metadata` as a map, made if there is none.
pub fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    match &mut value["metadata"] {
        Value::Object(map) => map,
        _ => unreachable!("made one above"),
    }
}

fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}

/// Nothing, or an empty text or list.
pub fn empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests;

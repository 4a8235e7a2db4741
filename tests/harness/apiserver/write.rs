//! Creating and replacing objects: what the server adds, keeps and refuses.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::compare::fields_of;
use super::defaults;
use super::failure::{Answer, Failure};
use super::managed::{self, Entry, Operation};
use super::object::{Object, key};
use super::resource::{Resource, Status, named};
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

/// The body is an object of the resource's kind; what it leaves out is filled in.
pub fn check_kind(resource: &Resource, value: &mut Value) -> Answer<()> {
    let api_version = resource.api_version();
    let Some(map) = value.as_object_mut() else {
        return Err(Failure::bad_request(
            "couldn't get version/kind; json parse error: the body is no object",
        ));
    };
    let version = map
        .entry("apiVersion")
        .or_insert_with(|| api_version.as_str().into());
    if *version != api_version {
        let given = version.as_str().unwrap_or_default();
        return Err(Failure::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({api_version})"
        )));
    }
    let kind = map.entry("kind").or_insert_with(|| resource.kind.into());
    if *kind != resource.kind {
        return Err(Failure::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: converting to the wrong kind",
            kind.as_str().unwrap_or_default(),
            resource.version,
            resource.kind
        )));
    }
    Ok(())
}

fn check_namespace(target: &Target, value: &mut Value) -> Answer<()> {
    let metadata = metadata(value);
    match &target.namespace {
        None => {
            metadata.remove("namespace");
        }
        Some(wanted) => {
            let given = metadata
                .entry("namespace")
                .or_insert_with(|| wanted.as_str().into());
            if empty(Some(given)) {
                *given = wanted.as_str().into();
            }
            if given != wanted {
                return Err(Failure::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        }
    }
    Ok(())
}

/// Names are parts of paths: RFC 1123, of a service RFC 1035.
fn check_name(resource: &Resource, name: &str) -> Answer<()> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = name.len() <= 253
        && name.chars().all(inner)
        && edge(name.chars().next())
        && edge(name.chars().next_back());
    let letter_first = name.starts_with(|c: char| c.is_ascii_lowercase());
    if good && (resource.kind != "Service" || (letter_first && name.len() <= 63)) {
        return Ok(());
    }
    let rule = if resource.kind == "Service" {
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
         character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
         validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
    } else {
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
         start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    };
    let what = format!("Invalid value: {name:?}: {rule}");
    Err(Failure::invalid(resource, name, "metadata.name", &what))
}

/// Something can only be made in a namespace that is there and stays.
fn check_home(store: &Store, resource: &Resource, name: &str, namespace: &str) -> Answer<()> {
    let Some(namespaces) = named("namespaces") else {
        return Ok(());
    };
    let Some(home) = store.get(namespaces, namespace) else {
        return Err(Failure::not_found(namespaces, namespace));
    };
    if home.value()["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let what =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    Err(Failure::forbidden(resource, name, &what))
}

/// Optimistic locking: what the writer read is still there.
pub fn check_version(old: &Object, value: &Value) -> Answer<()> {
    let metadata = &value["metadata"];
    let (resource, name) = (old.resource, &old.name);
    match metadata["resourceVersion"].as_str().unwrap_or_default() {
        "" | "0" if resource.custom || resource.kind == "Lease" => {
            const WHAT: &str = "Invalid value: 0x0: must be specified for an update";
            return Err(Failure::invalid(resource, name, "metadata.resourceVersion", WHAT));
        }
        "" | "0" => {}
        given if given == old.version.to_string() => {}
        _ => return Err(Failure::modified(resource, name)),
    }
    check_uid(old, value)
}

/// An apply names no version, or the one that is there.
pub fn check_precondition(old: &Object, wanted: &Value) -> Answer<()> {
    match wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default() {
        "" => check_uid(old, wanted),
        _ => check_version(old, wanted),
    }
}

fn check_uid(old: &Object, value: &Value) -> Answer<()> {
    let (resource, name, metadata) = (old.resource, &old.name, &value["metadata"]);
    let (given, uid) = (metadata["uid"].as_str().unwrap_or_default(), old.value());
    let uid = uid["metadata"]["uid"].as_str().unwrap_or_default();
    if given.is_empty() || given == uid {
        return Ok(());
    }
    let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {uid}");
    Err(Failure::conflict(resource, name, &why))
}

#[cfg(test)]
mod tests;

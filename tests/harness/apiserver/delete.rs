//! Deleting: preconditions, finalizers, grace.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::{Answer, Failure};
use super::object::Object;
use super::resource::{RESOURCES, Resource};
use super::route::Target;
use super::selector::Selector;
use super::store::Store;
use super::write::{Writer, empty, find};

/// The body of a DELETE.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    /// Seconds until a pod is to be gone.
    pub grace_period_seconds: Option<u64>,
    preconditions: Preconditions,
    #[serde(rename = "dryRun")]
    dry_run: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Options {
    /// Whether nothing shall be written.
    #[must_use]
    pub fn dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }
}

/// What became of it.
#[derive(Debug)]
pub enum Deleted {
    /// It is still there, with a time by when it is to be gone.
    Later(Arc<Object>),
    /// It is gone; this was it.
    Now(Arc<Object>),
}

impl Deleted {
    /// The body of the answer: the object, or for kinds that do not say so just that it is gone.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let (Self::Later(object) | Self::Now(object)) = self;
        let resource = object.resource;
        let told = ["Pod", "Service", "ServiceAccount"].contains(&resource.kind);
        if told || matches!(self, Self::Later(_)) {
            let mut body = Vec::new();
            object.write(&mut body);
            return body;
        }
        let mut details = json!({
            "name": object.name, "kind": resource.plural, "uid": object.value()["metadata"]["uid"],
        });
        if !resource.group.is_empty() {
            details["group"] = resource.group.into();
        }
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        });
        body.to_string().into_bytes()
    }
}

/// Deletes the object at the target.
pub fn delete(store: &mut Store, target: &Target, options: &Options, writer: &Writer) -> Answer<Deleted> {
    let old = find(store, target)?;
    let mut value = old.value();
    check(&old, &value, &options.preconditions)?;
    let resource = target.resource;
    if resource.kind == "Namespace" {
        empty_namespace(store, &old.name, writer);
    }
    let grace = grace(resource, &value, options.grace_period_seconds);
    let held = !empty(value["metadata"].get("finalizers"));
    if grace == 0 && !held {
        if writer.dry_run {
            return Ok(Deleted::Now(old));
        }
        let gone = store.remove(resource, &old.key());
        return Ok(Deleted::Now(gone.unwrap_or(old)));
    }
    let metadata = &mut value["metadata"];
    let before = metadata["deletionGracePeriodSeconds"].as_u64();
    // A time, once set, only comes nearer.
    if before.is_some_and(|before| before <= grace) {
        return Ok(Deleted::Later(old));
    }
    metadata["deletionTimestamp"] = later(&writer.now, grace).into();
    metadata["deletionGracePeriodSeconds"] = grace.into();
    if let Some(generation) = metadata["generation"].as_i64() {
        metadata["generation"] = (generation + 1).into();
    }
    if writer.dry_run {
        return Ok(Deleted::Later(old));
    }
    Ok(Deleted::Later(store.put(resource, value)))
}

/// Deletes all that are selected; gives them as they were.
pub fn delete_collection(
    store: &mut Store,
    target: &Target,
    selector: &Selector,
    options: &Options,
    writer: &Writer,
) -> Vec<Arc<Object>> {
    let selected = |object: &&Arc<Object>| selector.matches(object);
    let all: Vec<_> = store
        .objects(target.resource)
        .values()
        .filter(selected)
        .cloned()
        .collect();
    for object in &all {
        let target = Target {
            namespace: Some(object.namespace.clone()),
            name: Some(object.name.clone()),
            ..target.clone()
        };
        // One that does not fit the preconditions stays, the others go.
        let _ = delete(store, &target, options, writer);
    }
    all
}

/// What the namespace's controller does: first it is terminating, then empty, then it may go.
fn empty_namespace(store: &mut Store, name: &str, writer: &Writer) {
    if writer.dry_run {
        return;
    }
    let namespaces = &RESOURCES[0];
    if let Some(namespace) = store.get(namespaces, name) {
        let mut value = namespace.value();
        value["metadata"]["deletionTimestamp"] = writer.now.as_str().into();
        value["status"]["phase"] = "Terminating".into();
        store.put(namespaces, value);
    }
    for resource in RESOURCES.iter().filter(|resource| resource.namespaced) {
        let inside = |object: &&Arc<Object>| object.namespace == name;
        let keys: Vec<_> = store
            .objects(resource)
            .values()
            .filter(inside)
            .map(|object| object.key())
            .collect();
        for key in keys {
            store.remove(resource, &key);
        }
    }
}

fn check(old: &Object, value: &Value, wanted: &Preconditions) -> Answer<()> {
    let metadata = &value["metadata"];
    for (what, wanted, has) in [
        ("UID", &wanted.uid, &metadata["uid"]),
        (
            "ResourceVersion",
            &wanted.resource_version,
            &metadata["resourceVersion"],
        ),
    ] {
        let has = has.as_str().unwrap_or_default();
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != has) {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {has}"
            );
            return Err(Failure::conflict(old.resource, &old.name, &why));
        }
    }
    Ok(())
}

/// Only a pod that a kubelet has, and that still runs, is given time.
fn grace(resource: &Resource, value: &Value, asked: Option<u64>) -> u64 {
    let done = ["Succeeded", "Failed"].contains(&value["status"]["phase"].as_str().unwrap_or_default());
    if resource.kind != "Pod" || empty(value["spec"].get("nodeName")) || done {
        return 0;
    }
    asked.unwrap_or_else(|| {
        value["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap_or(30)
    })
}

fn later(now: &str, seconds: u64) -> String {
    let time: Result<jiff::Timestamp, _> = now.parse();
    time.ok()
        .and_then(|time| time.checked_add(std::time::Duration::from_secs(seconds)).ok())
        .map_or_else(|| now.to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests;

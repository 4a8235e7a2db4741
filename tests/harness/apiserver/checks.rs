//! What a write must fulfil before anything is changed.

use serde_json::Value;

use super::failure::{Answer, Failure};
use super::object::Object;
use super::resource::{Resource, named};
use super::route::Target;
use super::store::Store;
use super::write::{empty, metadata};

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

/// The body names the namespace of the path, or none.
pub fn check_namespace(target: &Target, value: &mut Value) -> Answer<()> {
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
pub fn check_name(resource: &Resource, name: &str) -> Answer<()> {
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
pub fn check_home(store: &Store, resource: &Resource, name: &str, namespace: &str) -> Answer<()> {
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

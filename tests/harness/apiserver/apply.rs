//! Server-side apply: a manager says all that it wants of an object.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::checks;
use super::compare::{compare, fields_of};
use super::defaults;
use super::failure::{Answer, Failure};
use super::fields::Fields;
use super::managed::{self, Entry, Operation};
use super::object::Object;
use super::resource::Resource;
use super::route::Target;
use super::schema::{Place, Shape, key_step, steps};
use super::store::Store;
use super::write::{self, Writer, empty, metadata};

/// Applies a configuration; says whether the object was made by it.
pub fn apply(
    store: &mut Store,
    target: &Target,
    mut wanted: Value,
    force: bool,
    writer: &Writer,
) -> Answer<(Arc<Object>, bool)> {
    let resource = target.resource;
    checks::check_kind(resource, &mut wanted)?;
    check(target, &mut wanted)?;
    let old = match write::find(store, target) {
        Ok(old) => old,
        Err(_) if !writer.status => {
            return write::create_applied(store, target, wanted, writer).map(|made| (made, true));
        }
        Err(failure) => return Err(failure),
    };
    let before = old.value();
    checks::check_precondition(&old, &wanted)?;
    let wanted = part(resource, wanted, writer.status);
    let owner = Entry::of(resource, writer, Operation::Apply);
    let mut entries = managed::entries(&before);
    if entries.is_empty() {
        entries.push(managed::before_first_apply(resource, &before, writer));
    }
    let applied = fields_of(resource, &wanted);
    let mut after = merged(&Place::root(resource), &before, &wanted);
    let last = entries.iter().find(|entry| entry.same_as(&owner));
    let last = last.map(|entry| entry.fields.clone()).unwrap_or_default();
    let others: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.same_as(&owner))
        .map(|entry| &entry.fields)
        .collect();
    prune(resource, &mut after, &last, &applied, &others);
    let compared = compare(resource, &before, &after);
    let conflicts = managed::conflicts(&entries, &owner, &compared);
    if !force && !conflicts.is_empty() {
        return Err(Failure::apply_conflict(&conflicts));
    }
    managed::apply(&mut entries, &owner, applied, &compared);
    managed::set(&mut after, entries);
    if !writer.status {
        defaults::complete(resource, &mut after);
    }
    Ok((write::commit(store, &old, &before, after, writer), false))
}

fn check(target: &Target, wanted: &mut Value) -> Answer<()> {
    let name = target.name.as_deref().unwrap_or_default();
    let metadata = metadata(wanted);
    if !empty(metadata.get("managedFields")) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    for (field, known) in [("name", Some(name)), ("namespace", target.namespace.as_deref())] {
        let Some(known) = known else { continue };
        let given = metadata.entry(field).or_insert_with(|| known.into());
        if given != known {
            return Err(Failure::bad_request(format!(
                "the {field} of the object ({}) does not match the {field} on the URL ({known})",
                given.as_str().unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// What of a configuration counts: `status` for the subresource, else everything but that.
fn part(resource: &Resource, mut wanted: Value, status: bool) -> Value {
    let Some(map) = wanted.as_object_mut() else {
        return wanted;
    };
    if status {
        let status = map.remove("status").unwrap_or_default();
        return json!({"metadata": {}, "status": status});
    }
    if resource.has_status() {
        map.remove("status");
    }
    map.remove("kind");
    map.remove("apiVersion");
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
    }
    wanted
}

/// `over` merged into `base`.
fn merged(place: &Place, base: &Value, over: &Value) -> Value {
    match (place.shape(base), place.shape(over)) {
        (Shape::Map, Shape::Map) => {
            let mut map = base.as_object().cloned().unwrap_or_default();
            for (name, value) in over.as_object().into_iter().flatten() {
                let value = match map.get(name) {
                    Some(old) => merged(&place.field(name), old, value),
                    None => value.clone(),
                };
                map.insert(name.clone(), value);
            }
            map.into()
        }
        (shape @ (Shape::Keyed(_) | Shape::Set), other) if shape == other => {
            let (base, mut over) = (steps(shape, base), steps(shape, over));
            let mut list = Vec::new();
            for (step, item) in base {
                match over.iter().position(|(known, _)| *known == step) {
                    Some(at) => list.push(merged(&place.item(), item, over.remove(at).1)),
                    None => list.push(item.clone()),
                }
            }
            list.extend(over.into_iter().map(|(_, item)| item.clone()));
            list.into()
        }
        // Nothing more is wanted of a container that merges item by item.
        (Shape::Map | Shape::Keyed(_) | Shape::Set, _) if hollow(over) => base.clone(),
        _ => over.clone(),
    }
}

/// Takes out what the manager wanted last time, wants no longer, and nobody else has.
fn prune(
    resource: &'static Resource,
    value: &mut Value,
    last: &Fields,
    applied: &Fields,
    others: &[&Fields],
) {
    // An item comes before its fields: without its keys it would not be found.
    for path in last.difference(applied).paths() {
        let kept = applied.touches(&path) || others.iter().any(|fields| fields.touches(&path));
        if !kept {
            remove(&Place::root(resource), value, &path);
        }
    }
}

/// Removes what stands at a path, and containers that are empty without it.
fn remove(place: &Place, value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    let shape = place.shape(value);
    match (step.split_once(':'), value) {
        (Some(("f", name)), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
                return;
            }
            if let Some(inner) = map.get_mut(name) {
                remove(&place.field(name), inner, rest);
                if hollow(inner) {
                    map.remove(name);
                }
            }
        }
        (Some((_, _)), Value::Array(list)) => {
            let found = list.iter().position(|item| match shape {
                Shape::Keyed(keys) => key_step(keys, item).as_deref() == Some(step),
                _ => super::schema::value_step(item) == *step,
            });
            match found {
                Some(at) if rest.is_empty() => {
                    list.remove(at);
                }
                Some(at) => remove(&place.item(), &mut list[at], rest),
                None => {}
            }
        }
        _ => {}
    }
}

fn hollow(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests;

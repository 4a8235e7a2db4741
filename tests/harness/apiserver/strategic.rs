//! Strategic merge patches: lists merge by the keys of their items.
//!
//! The merge keys of Go's types are the first of the keys that apply uses, for the kinds served here. The directives
//! are `$patch` (`delete`, `replace`, `merge`), `$deleteFromPrimitiveList/` and `$setElementOrder/`, of which the order is not kept,
//! and `$retainKeys`.

use serde_json::{Map, Value};

use super::failure::{Answer, Failure};
use super::resource::Resource;
use super::schema::{Place, Shape};

/// Merges a patch into an object.
pub fn merge(resource: &'static Resource, value: &mut Value, patch: &Value) -> Answer<()> {
    if !patch.is_object() {
        return Err(Failure::bad_request("error decoding patch: it is no object"));
    }
    merge_value(&Place::root(resource), value, patch)
}

fn merge_value(place: &Place, value: &mut Value, patch: &Value) -> Answer<()> {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return Ok(());
    };
    if patch
        .get("$patch")
        .is_some_and(|directive| directive == "replace")
    {
        let mut whole = patch.clone();
        whole.remove("$patch");
        *value = whole.into();
        return Ok(());
    }
    if !value.is_object() {
        *value = Map::new().into();
    }
    let Value::Object(map) = value else { return Ok(()) };
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|name, _| kept.iter().any(|known| known == name));
    }
    for (name, patch) in patch {
        if let Some(field) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = patch.as_array().cloned().unwrap_or_default();
            if let Some(list) = map.get_mut(field).and_then(Value::as_array_mut) {
                list.retain(|item| !gone.contains(item));
            }
        } else if name.starts_with('$') {
            // Read above, or an order.
        } else if patch.is_null() || patch.get("$patch").is_some_and(|directive| directive == "delete") {
            map.remove(name);
        } else {
            merge_field(&place.field(name), map.entry(name).or_insert(Value::Null), patch)?;
        }
    }
    Ok(())
}

fn merge_field(place: &Place, value: &mut Value, patch: &Value) -> Answer<()> {
    let Value::Array(items) = patch else {
        return merge_value(place, value, patch);
    };
    match place.shape(patch) {
        Shape::Keyed(keys) => merge_list(place, keys[0].0, value, items),
        Shape::Set => {
            let list = as_list(value);
            for item in items {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
            Ok(())
        }
        _ => {
            *value = patch.clone();
            Ok(())
        }
    }
}

fn merge_list(place: &Place, key: &str, value: &mut Value, items: &[Value]) -> Answer<()> {
    let list = as_list(value);
    if items.iter().any(|item| item["$patch"] == "replace") {
        *list = items
            .iter()
            .filter(|item| item.get("$patch").is_none())
            .cloned()
            .collect();
        return Ok(());
    }
    for item in items {
        let Some(id) = item.get(key) else {
            return Err(Failure::bad_request(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        };
        let found = list.iter().position(|known| known.get(key) == Some(id));
        match (item["$patch"] == "delete", found) {
            (true, Some(at)) => {
                list.remove(at);
            }
            (true, None) => {}
            (false, Some(at)) => merge_value(place, &mut list[at], item)?,
            (false, None) => {
                let mut new = Value::Null;
                merge_value(place, &mut new, item)?;
                list.push(new);
            }
        }
    }
    Ok(())
}

fn as_list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("made one above"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resource::named;
    use super::*;

    fn patched(value: &Value, patch: &Value) -> Value {
        let mut value = value.clone();
        merge(named("pods").expect("known"), &mut value, patch).expect("merges");
        value
    }

    #[test]
    fn lists_merge_by_their_keys() {
        let pod = json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "x"}, {"type": "Initialized", "status": "True"},
        ]}});
        let patch = json!({"status": {
            "$setElementOrder/conditions": [{"type": "Ready"}, {"type": "New"}],
            "conditions": [
                {"type": "Ready", "status": "True", "reason": null},
                {"type": "Initialized", "$patch": "delete"},
                {"type": "New", "status": "True"},
            ],
        }});
        assert_eq!(
            patched(&pod, &patch),
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "New", "status": "True"}]}})
        );
    }

    #[test]
    fn directives() {
        let pod = json!({"metadata": {"finalizers": ["a", "b"], "labels": {"x": "y"}}, "spec": {"tolerations": [1]}});
        let patch = json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"],
                         "labels": {"$patch": "replace", "z": "1"}},
            "spec": {"tolerations": [2]},
        });
        assert_eq!(
            patched(&pod, &patch),
            json!({"metadata": {"finalizers": ["b", "c"], "labels": {"z": "1"}}, "spec": {"tolerations": [2]}})
        );
        let mut value = json!({});
        let nameless = json!({"status": {"conditions": [{"status": "True"}]}});
        let failure = merge(named("pods").expect("known"), &mut value, &nameless).expect_err("no key");
        assert_eq!(failure.code, 400);
    }
}

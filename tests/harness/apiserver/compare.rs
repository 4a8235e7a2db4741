//! Which fields an object has, and which of them a change added, changed or took away.

use serde_json::Value;

use super::fields::Fields;
use super::resource::Resource;
use super::schema::{Place, Shape, steps};

/// What belongs to nobody: it names the object, or is the server's.
const STRIPPED: [&[&str]; 11] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

/// The difference of two objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// There now, not before.
    pub added: Fields,
    /// Of another value.
    pub modified: Fields,
    /// There before.
    pub removed: Fields,
}

impl Comparison {
    /// What the writer set.
    #[must_use]
    pub fn set(&self) -> Fields {
        self.added.union(&self.modified)
    }
}

/// Compares two objects.
#[must_use]
pub fn compare(resource: &'static Resource, before: &Value, after: &Value) -> Comparison {
    let mut found = Comparison::default();
    let root = Place::root(resource);
    walk(&root, Some(before), Some(after), &mut Vec::new(), &mut found);
    Comparison {
        added: strip(&found.added),
        modified: strip(&found.modified),
        removed: strip(&found.removed),
    }
}

/// The fields an object names, as an apply of it takes them.
#[must_use]
pub fn fields_of(resource: &'static Resource, value: &Value) -> Fields {
    let mut fields = Fields::default();
    named(&Place::root(resource), value, &mut Vec::new(), &mut fields);
    strip(&fields)
}

fn strip(fields: &Fields) -> Fields {
    let mut stripped = Fields::default();
    for path in STRIPPED {
        let path: Vec<_> = path.iter().map(|step| (*step).to_owned()).collect();
        stripped.insert(&path);
        if path == ["f:metadata", "f:managedFields"] {
            for below in fields.paths().iter().filter(|other| other.starts_with(&path)) {
                stripped.insert(below);
            }
        }
    }
    fields.difference(&stripped)
}

/// Takes a value and what lies in it.
type Take = fn(&Place, &Value, &mut Vec<String>, &mut Fields);

/// What a value names: a container only by what lies in it.
fn named(place: &Place, value: &Value, path: &mut Vec<String>, fields: &mut Fields) {
    if place.shape(value) == Shape::Leaf {
        fields.insert(path);
    }
    inside(place, value, path, fields, named);
}

/// All of a value, each container included that came with it.
fn whole(place: &Place, value: &Value, path: &mut Vec<String>, fields: &mut Fields) {
    if !place.present() || place.shape(value) == Shape::Leaf {
        fields.insert(path);
    }
    inside(place, value, path, fields, whole);
}

/// What lies in a value, each part taken by `take`.
fn inside(place: &Place, value: &Value, path: &mut Vec<String>, fields: &mut Fields, take: Take) {
    match place.shape(value) {
        Shape::Leaf => {}
        Shape::Map => {
            for (name, value) in value.as_object().into_iter().flatten() {
                path.push(format!("f:{name}"));
                take(&place.field(name), value, path, fields);
                path.pop();
            }
        }
        shape => {
            for (step, item) in steps(shape, value) {
                path.push(step);
                fields.insert(path);
                if shape != Shape::Set {
                    take(&place.item(), item, path, fields);
                }
                path.pop();
            }
        }
    }
}

fn walk(
    place: &Place,
    before: Option<&Value>,
    after: Option<&Value>,
    path: &mut Vec<String>,
    found: &mut Comparison,
) {
    let (before, after) = match (before, after) {
        (None, None) => return,
        (None, Some(after)) => return whole(place, after, path, &mut found.added),
        (Some(before), None) => return whole(place, before, path, &mut found.removed),
        (Some(before), Some(after)) => (before, after),
    };
    if before == after {
        return;
    }
    match (place.shape(before), place.shape(after)) {
        (Shape::Leaf, Shape::Leaf) => found.modified.insert(path),
        // The container was there, with nothing in it.
        (Shape::Leaf, _) if hollow(before) => inside(place, after, path, &mut found.added, whole),
        (_, Shape::Leaf) if hollow(after) => inside(place, before, path, &mut found.removed, whole),
        (Shape::Map, Shape::Map) => {
            let maps = [before, after].map(|value| value.as_object().into_iter().flatten());
            let names: std::collections::BTreeSet<_> =
                maps.into_iter().flatten().map(|(name, _)| name).collect();
            for name in names {
                path.push(format!("f:{name}"));
                walk(&place.field(name), before.get(name), after.get(name), path, found);
                path.pop();
            }
        }
        (shape, other) if shape == other => {
            let (before, after) = (steps(shape, before), steps(shape, after));
            let find =
                |list: &[(String, &Value)], step: &str| list.iter().position(|(known, _)| known == step);
            for (step, item) in &before {
                path.push(step.clone());
                match find(&after, step) {
                    Some(at) => walk(&place.item(), Some(item), Some(after[at].1), path, found),
                    None => whole(&place.item(), item, path, &mut found.removed),
                }
                path.pop();
            }
            for (step, item) in after.iter().filter(|(step, _)| find(&before, step).is_none()) {
                path.push(step.clone());
                whole(&place.item(), item, path, &mut found.added);
                path.pop();
            }
        }
        _ => found.modified.insert(path),
    }
}

/// Null, or an empty map or list.
fn hollow(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resource::named as resource;
    use super::*;

    #[test]
    fn an_update_owns_the_containers_it_made_an_apply_does_not() {
        let service = resource("services").expect("known");
        let value = json!({
            "metadata": {"name": "a", "labels": {"app": "b"}},
            "spec": {"ports": [{"port": 80}], "selector": {"app": "b"}},
        });
        let port = r#"k:{"port":80,"protocol":"TCP"}"#;
        let compared = compare(service, &json!({"metadata": {}}), &value);
        assert_eq!(
            compared.added.write(),
            json!({
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:ports": {".": {}, port: {".": {}, "f:port": {}}}, "f:selector": {}},
            })
        );
        assert_eq!(
            fields_of(service, &value).write(),
            json!({
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:ports": {port: {".": {}, "f:port": {}}}, "f:selector": {}},
            })
        );
    }

    #[test]
    fn lists_with_keys_are_compared_item_by_item() {
        let pods = resource("pods").expect("known");
        let pod = |ready: &str, more: Value| {
            let mut conditions = vec![json!({"type": "Ready", "status": ready})];
            conditions.extend(more.as_array().cloned().unwrap_or_default());
            json!({"metadata": {}, "status": {"conditions": conditions}})
        };
        let more = json!([{"type": "Initialized", "status": "True"}]);
        let compared = compare(pods, &pod("False", more.clone()), &pod("True", json!([])));
        let (ready, initialized) = (r#"k:{"type":"Ready"}"#, r#"k:{"type":"Initialized"}"#);
        let status = |inner: Value| json!({"f:status": {"f:conditions": inner}});
        assert_eq!(
            compared.modified.write(),
            status(json!({ready: {"f:status": {}}}))
        );
        assert_eq!(
            compared.removed.write(),
            status(json!({initialized: {".": {}, "f:status": {}, "f:type": {}}}))
        );
        assert!(compared.added.is_empty());
    }
}

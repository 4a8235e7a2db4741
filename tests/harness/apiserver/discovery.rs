//! What clients ask before they ask for objects.

use serde_json::{Value, json};

use super::resource::{RESOURCES, Resource};

/// The version this server plays.
const VERSION: &str = "v1.28.15";

/// A body that is no object.
#[derive(Debug, PartialEq)]
pub enum Document {
    /// JSON.
    Json(Value),
    /// Plain text.
    Text(&'static str),
}

/// The document at a path.
#[must_use]
pub fn document(path: &str) -> Option<Document> {
    let parts: Vec<_> = path.split('/').skip(1).collect();
    Some(Document::Json(match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => return Some(Document::Text("ok")),
        ["version"] => version(),
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}],
        }),
        ["apis"] => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups().into_iter().map(group).collect::<Vec<_>>(),
        }),
        ["apis", name] if groups().contains(name) => {
            let mut document = group(name);
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            document
        }
        ["api", version] => resources("", version)?,
        ["apis", name, version] => resources(name, version)?,
        _ => return None,
    }))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "28", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2024-10-22T20:28:49Z", "goVersion": "go1.22.8", "compiler": "gc", "platform": "linux/amd64",
    })
}

/// Named groups, in the order of the table.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> = RESOURCES.iter().map(|resource| resource.group).collect();
    groups.retain(|group| !group.is_empty());
    groups.dedup();
    groups
}

fn group(name: &str) -> Value {
    let mut versions: Vec<_> = RESOURCES
        .iter()
        .filter(|resource| resource.group == name)
        .map(|resource| json!({"groupVersion": resource.api_version(), "version": resource.version}))
        .collect();
    versions.dedup();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let here = |resource: &&Resource| resource.group == group && resource.version == version;
    let mut list = Vec::new();
    for resource in RESOURCES.iter().filter(here) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.kind.to_lowercase(),
            "namespaced": resource.namespaced, "kind": resource.kind,
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        });
        if !resource.short.is_empty() {
            entry["shortNames"] = json!(resource.short);
        }
        list.push(entry);
        if resource.has_status() {
            list.push(json!({
                "name": format!("{}/status", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": resource.kind, "verbs": ["get", "patch", "update"],
            }));
        }
    }
    let group_version = if group.is_empty() {
        version.into()
    } else {
        format!("{group}/{version}")
    };
    (!list.is_empty()).then(|| {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Value {
        match document(path) {
            Some(Document::Json(value)) => value,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn every_resource_is_in_the_document_of_its_version() {
        for resource in RESOURCES {
            let path = match resource.group {
                "" => "/api/v1".into(),
                group => format!("/apis/{group}/{}", resource.version),
            };
            let document = read(&path);
            let names = document["resources"].as_array().expect("a list").iter();
            let names: Vec<_> = names
                .map(|entry| entry["name"].as_str().expect("a name"))
                .collect();
            assert!(names.contains(&resource.plural), "{path}: {names:?}");
        }
        let gateway = read("/apis/gateway.networking.k8s.io");
        assert_eq!(gateway["versions"].as_array().map(Vec::len), Some(2));
        assert_eq!(document("/healthz"), Some(Document::Text("ok")));
        assert_eq!(document("/apis/none"), None);
        assert_eq!(document("/api/v2"), None);
    }
}

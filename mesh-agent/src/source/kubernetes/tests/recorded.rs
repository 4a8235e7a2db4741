//! What a real API server sent, read as it comes in, is what the types of the API make of it.

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::object::{EndpointSlice, Invalid, Namespace, NetworkPolicy, Node, Object, Pod, Service};
use crate::source::kubernetes::line::Line;
use crate::source::kubernetes::{Resource, list};

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/kubernetes-1.28/",
            $name
        ))
    };
}

/// There were no policies when this was recorded.
const LISTS: [(Resource, &str); 5] = [
    (Resource::Namespaces, recorded!("list-namespaces.json")),
    (Resource::Nodes, recorded!("list-nodes.json")),
    (Resource::Pods, recorded!("list-pods.json")),
    (Resource::Services, recorded!("list-services.json")),
    (Resource::EndpointSlices, recorded!("list-endpointslices.json")),
];

const WATCHES: [(Resource, &str); 4] = [
    (Resource::Namespaces, recorded!("watch-namespaces.jsonl")),
    (Resource::Pods, recorded!("watch-pods.jsonl")),
    (Resource::Services, recorded!("watch-services.jsonl")),
    (Resource::EndpointSlices, recorded!("watch-endpointslices.jsonl")),
];

fn expected(resource: Resource, object: &Value) -> Object {
    fn of<A: DeserializeOwned, T: TryFrom<A, Error = Invalid> + Into<Object>>(object: &Value) -> Object {
        let typed: A = serde_json::from_value(object.clone()).unwrap();
        T::try_from(typed).unwrap().into()
    }
    match resource {
        Resource::Namespaces => of::<core::Namespace, Namespace>(object),
        Resource::Nodes => of::<core::Node, Node>(object),
        Resource::Pods => of::<core::Pod, Pod>(object),
        Resource::Services => of::<core::Service, Service>(object),
        Resource::EndpointSlices => of::<discovery::EndpointSlice, EndpointSlice>(object),
        Resource::NetworkPolicies => of::<networking::NetworkPolicy, NetworkPolicy>(object),
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap()
}

#[test]
fn lists_are_what_they_were_when_recorded() {
    for (resource, recorded) in LISTS {
        let mut items = Vec::new();
        let version = list::read(recorded.as_bytes(), |document| {
            items.push(resource.item(document));
        })
        .unwrap();
        let whole: Value = serde_json::from_str(recorded).unwrap();
        assert_eq!(version.0, text(&whole, "resourceVersion"));
        let objects = whole["items"].as_array().unwrap();
        assert!(!objects.is_empty() && objects.len() == items.len());
        for (item, object) in items.into_iter().zip(objects) {
            assert_eq!(item.version.0, text(object, "resourceVersion"));
            assert_eq!(item.uid.as_deref(), Some(text(object, "uid")));
            let expected = expected(resource, object);
            assert_eq!(item.reference, expected.reference());
            assert_eq!(item.object, Ok(expected));
        }
    }
}

#[test]
fn watches_are_what_they_were_when_recorded() {
    for (resource, recorded) in WATCHES {
        for line in recorded.lines() {
            let whole: Value = serde_json::from_str(line).unwrap();
            let object = &whole["object"];
            match Line::read(resource, line).unwrap() {
                Line::Upsert(item) => {
                    assert!(["ADDED", "MODIFIED"].contains(&whole["type"].as_str().unwrap()));
                    assert_eq!(item.version.0, text(object, "resourceVersion"));
                    assert_eq!(item.object, Ok(expected(resource, object)));
                }
                Line::Delete(gone) => {
                    assert_eq!(whole["type"], "DELETED");
                    assert_eq!(gone.reference, expected(resource, object).reference());
                    assert_eq!(gone.uid.as_deref(), Some(text(object, "uid")));
                    assert_eq!(gone.version.0, text(object, "resourceVersion"));
                }
                Line::Bookmark(version) => assert_eq!(version.0, text(object, "resourceVersion")),
                other => panic!("{other:?}"),
            }
        }
    }
}

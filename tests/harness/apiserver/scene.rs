//! A store with a namespace, for the unit tests here.

use serde_json::{Value, json};

use super::query::Query;
use super::resource::{RESOURCES, named};
use super::route::{Route, Target, parse};
use super::store::Store;
use super::write::Writer;

/// A store with the namespace `n`.
pub fn store() -> Store {
    let mut store = Store::new(100);
    store.put(&RESOURCES[0], json!({"metadata": {"name": "n"}}));
    store
}

/// What a path names.
pub fn target(path: &str) -> Target {
    match parse(path) {
        Some(Route::Objects(target)) => target,
        other => panic!("{path}: {other:?}"),
    }
}

/// Pods of the namespace, or one.
pub fn pods(name: Option<&str>) -> Target {
    Target {
        resource: named("pods").expect("known"),
        namespace: Some("n".into()),
        name: name.map(Into::into),
        subresource: None,
    }
}

/// A manager at some time.
pub fn writer(manager: &str) -> Writer {
    Writer {
        manager: manager.into(),
        now: "2024-01-01T00:00:00Z".into(),
        status: false,
        dry_run: false,
    }
}

/// A pod of the namespace.
pub fn pod(name: &str, app: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "labels": {"app": app}}})
}

/// A query.
pub fn query(text: &str) -> Query {
    Query::parse(text).expect("well formed")
}

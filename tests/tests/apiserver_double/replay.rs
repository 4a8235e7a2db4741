//! What was recorded of a real server of 1.28, played again.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::bench::Bench;

const RESOURCES: [(&str, &str, &str); 5] = [
    ("namespaces", "/api/v1", "Namespace"),
    ("nodes", "/api/v1", "Node"),
    ("pods", "/api/v1", "Pod"),
    ("services", "/api/v1", "Service"),
    ("endpointslices", "/apis/discovery.k8s.io/v1", "EndpointSlice"),
];

fn recorded(name: &str) -> Result<String> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../mesh-agent/tests/fixtures/kubernetes-1.28");
    std::fs::read_to_string(dir.join(name)).with_context(|| format!("reading {name}"))
}

fn list(plural: &str) -> Result<Value> {
    Ok(serde_json::from_str(&recorded(&format!("list-{plural}.json"))?)?)
}

fn watch(plural: &str) -> Result<Vec<Value>> {
    let lines = recorded(&format!("watch-{plural}.jsonl"))?;
    lines
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// Without its version, which is another server's.
fn timeless(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    object
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().into_iter().flat_map(Map::keys).collect()
}

#[tokio::test]
async fn lists_are_as_recorded() -> Result<()> {
    let bench = Bench::new().await?;
    bench.server.remove("namespaces", "", "n")?;
    for (plural, path, kind) in RESOURCES {
        let recorded = list(plural)?;
        for item in recorded["items"].as_array().context("items")? {
            let mut object = item.clone();
            object["kind"] = kind.into();
            object["apiVersion"] = recorded["apiVersion"].clone();
            bench.server.put(&object)?;
        }
        let answer = bench.get(&format!("{path}/{plural}")).await?;
        assert_eq!(answer.code, 200);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(keys(&answer.body), keys(&recorded), "{plural}");
        assert_eq!(
            keys(&answer.body["metadata"]),
            keys(&recorded["metadata"]),
            "{plural}"
        );
        for field in ["kind", "apiVersion"] {
            assert_eq!(answer.body[field], recorded[field], "{plural}");
        }
        assert_eq!(
            answer.body["metadata"]["resourceVersion"],
            bench.server.version().to_string()
        );
        let items = |list: &Value| -> Vec<Value> {
            let items = list["items"].as_array().into_iter().flatten();
            items.cloned().map(timeless).collect()
        };
        assert_eq!(
            items(&answer.body),
            items(&recorded),
            "{plural}: the same objects in the same order"
        );
    }
    Ok(())
}

#[tokio::test]
async fn watches_are_as_recorded() -> Result<()> {
    for (plural, path, _) in RESOURCES.into_iter().filter(|(plural, ..)| *plural != "nodes") {
        let bench = Bench::new().await?;
        bench.server.remove("namespaces", "", "n")?;
        let start = bench.server.version();
        let recorded = watch(plural)?;
        for event in &recorded {
            let object = &event["object"];
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            if event["type"] == "DELETED" {
                bench.server.remove(plural, text("namespace"), text("name"))?;
            } else {
                bench.server.put(object)?;
            }
        }
        let path = format!("{path}/{plural}?watch=1&resourceVersion={start}");
        let mut watch = bench.watch(&path).await?;
        assert_eq!(watch.headers["content-type"], "application/json");
        assert_eq!(watch.headers["transfer-encoding"], "chunked");
        let mut version = start;
        for event in recorded {
            let told = watch.next().await?;
            assert_eq!(keys(&told), keys(&event), "{plural}");
            assert_eq!(told["type"], event["type"], "{plural}");
            let now: u64 = told["object"]["metadata"]["resourceVersion"]
                .as_str()
                .context("a version")?
                .parse()?;
            assert!(now > version, "{plural}: versions rise");
            version = now;
            assert_eq!(
                timeless(told["object"].clone()),
                timeless(event["object"].clone()),
                "{plural}"
            );
        }
        assert!(watch.silent().await, "{plural}: nothing more");
    }
    Ok(())
}

/// The Services were made by `kubectl apply`: what it sent stands in their annotation. Sent again, the same object
/// comes out, down to the managed fields; only the address is another.
#[tokio::test]
async fn writes_come_out_as_recorded() -> Result<()> {
    const SENT: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let bench = Bench::new().await?;
    bench
        .server
        .put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))?;
    let made = watch("services")?
        .into_iter()
        .filter(|event| event["type"] == "ADDED");
    for event in made {
        let recorded = &event["object"];
        let text = recorded["metadata"]["annotations"][SENT]
            .as_str()
            .context("what was sent")?;
        let mut sent: Value = serde_json::from_str(text)?;
        sent["metadata"]["annotations"][SENT] = text.into();
        let path = "/api/v1/namespaces/shop/services?fieldManager=kubectl-client-side-apply";
        let answer = bench.post(path, &sent).await?;
        assert_eq!(answer.code, 201, "{}", answer.body);
        let own = |object: &Value| {
            let mut object = timeless(object.clone());
            for path in [
                "/metadata/uid",
                "/metadata/creationTimestamp",
                "/metadata/managedFields/0/time",
            ] {
                object.pointer_mut(path).map(Value::take);
            }
            if object["spec"]["clusterIP"] != "None" {
                object["spec"]["clusterIP"].take();
                object["spec"]["clusterIPs"].take();
            }
            object
        };
        assert_eq!(own(&answer.body), own(recorded));
    }
    Ok(())
}

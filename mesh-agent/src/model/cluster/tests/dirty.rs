//! A change says all that it touches, and little else.

use super::*;

#[test]
fn the_same_again_changes_nothing() {
    let objects = || {
        [
            service(json!({})),
            slice("s", json!([{ "addresses": ["10.0.0.1"] }])),
            pod("a", "10.0.0.1", json!({})),
            namespace("shop", "enabled"),
            node("here", "a"),
        ]
    };
    let mut cluster = cluster(objects());
    assert_eq!(upsert(&mut cluster, objects()), Dirty::default());
    for nobody in [
        ObjectRef::Pod(key("nobody").object),
        ObjectRef::Namespace("nowhere".to_owned()),
    ] {
        assert_eq!(cluster.apply(Event::Delete(nobody)), Dirty::default());
    }
}

#[test]
fn readiness_of_a_pod_is_for_its_slice_to_tell() {
    let mut cluster = cluster([
        service(json!({})),
        slice("s", json!([{ "addresses": ["10.0.0.1"] }])),
        pod("a", "10.0.0.1", json!({})),
    ]);
    let unready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
    let dirty = upsert(&mut cluster, [pod("a", "10.0.0.1", unready)]);
    assert!(dirty.services.is_empty());
}

#[test]
fn one_endpoint_touches_its_service_only() {
    let other = |name: &str, ip: &str| {
        service(json!({
            "metadata": { "name": name },
            "spec": { "clusterIP": ip, "selector": { "app": name } },
        }))
    };
    let at = |ip: &str| slice("s", json!([{ "addresses": [ip] }]));
    let mut cluster = cluster([
        service(json!({})),
        other("x", "10.96.0.2"),
        other("y", "10.96.0.3"),
        at("10.0.0.1"),
    ]);
    let dirty = upsert(&mut cluster, [at("10.0.0.2")]);
    assert_eq!(dirty.services.into_iter().collect::<Vec<_>>(), [web()]);
    let dirty = upsert(&mut cluster, [pod("a", "10.0.0.2", json!({}))]);
    assert_eq!(
        dirty.services.into_iter().collect::<Vec<_>>(),
        [web()],
        "its pod is known now"
    );
}

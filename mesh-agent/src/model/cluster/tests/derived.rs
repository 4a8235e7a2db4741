//! Services without a slice, whose endpoints come from pods.

use super::*;

#[test]
fn pods_with_the_labels_in_the_namespace_serve() {
    let cluster = cluster([
        service(json!({})),
        pod("a", "10.0.0.1", json!({})),
        pod(
            "b",
            "10.0.0.2",
            json!({ "metadata": { "labels": { "app": "db" } } }),
        ),
        pod("c", "10.0.0.3", json!({ "metadata": { "namespace": "other" } })),
        pod("d", "", json!({})),
        pod("e", "10.0.0.5", json!({ "status": { "phase": "Failed" } })),
        pod("f", "10.0.0.6", json!({ "status": { "phase": "Pending" } })),
    ]);
    assert_eq!(endpoints(&cluster), ["10.0.0.1:80 a"]);
}

#[test]
fn in_a_cluster_only_slices_count() {
    let mut cluster = Cluster::new("here");
    let _ = upsert(
        &mut cluster,
        [service(json!({})), pod("a", "10.0.0.1", json!({}))],
    );
    assert_eq!(endpoints(&cluster), [""; 0]);
    let moved = upsert(&mut cluster, [pod("a", "10.0.0.2", json!({}))]);
    assert!(moved.services.is_empty(), "{moved:?}");
}

#[test]
fn a_slice_settles_it_even_an_empty_one() {
    let mut cluster = cluster([service(json!({})), pod("a", "10.0.0.1", json!({}))]);
    assert_eq!(endpoints(&cluster), ["10.0.0.1:80 a"]);
    let dirty = upsert(&mut cluster, [slice("s", json!([]))]);
    assert!(dirty.services.contains(&web()));
    assert_eq!(endpoints(&cluster), [""; 0]);
    let gone = ObjectRef::EndpointSlice(ObjectName::new("shop", "s"));
    assert!(cluster.apply(Event::Delete(gone)).services.contains(&web()));
    assert_eq!(endpoints(&cluster), ["10.0.0.1:80 a"]);
}

#[test]
fn no_selector_takes_no_pod() {
    let cluster = cluster([
        service(json!({ "spec": { "selector": null } })),
        pod("a", "10.0.0.1", json!({})),
    ]);
    assert_eq!(endpoints(&cluster), [""; 0]);
}

#[test]
fn targets_are_numbers_or_names() {
    let named = |port: i32| {
        let ports = json!([{ "name": "http", "containerPort": port }]);
        json!({ "spec": { "containers": [{ "name": "app", "ports": ports }] } })
    };
    for (target, expected) in [
        (
            json!(8080),
            vec!["10.0.0.1:8080 a", "10.0.0.2:8080 b", "10.0.0.3:8080 c"],
        ),
        (json!("http"), vec!["10.0.0.1:8081 a", "10.0.0.2:8082 b"]),
        (
            Value::Null,
            vec!["10.0.0.1:80 a", "10.0.0.2:80 b", "10.0.0.3:80 c"],
        ),
    ] {
        let cluster = cluster([
            pod("a", "10.0.0.1", named(8081)),
            pod("b", "10.0.0.2", named(8082)),
            pod("c", "10.0.0.3", json!({})),
            service(json!({ "spec": { "ports": [{ "port": 80, "targetPort": target.clone() }] } })),
        ]);
        assert_eq!(endpoints(&cluster), expected, "{target}");
    }
}

#[test]
fn readiness_and_its_override() {
    let pods = || {
        let unready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
        let ending = json!({ "metadata": { "deletionTimestamp": "2026-11-20T16:04:08Z" } });
        [
            pod("a", "10.0.0.1", json!({})),
            pod("b", "10.0.0.2", unready),
            pod("c", "10.0.0.3", ending),
        ]
    };
    let mut strict = cluster(pods().into_iter().chain([service(json!({}))]));
    assert_eq!(endpoints(&strict), ["10.0.0.1:80 a"]);
    let _ = strict.apply(Event::Delete(ObjectRef::Pod(ObjectName::new("shop", "a"))));
    assert_eq!(endpoints(&strict), ["10.0.0.3:80 c"], "who still serves serves");

    let publish = service(json!({ "spec": { "publishNotReadyAddresses": true } }));
    let lax = cluster(pods().into_iter().chain([publish]));
    assert_eq!(endpoints(&lax).len(), 3);
}

#[test]
fn the_network_of_a_node_serves_but_is_no_workload() {
    let cluster = cluster([
        service(json!({})),
        pod("a", "192.168.0.1", json!({ "spec": { "hostNetwork": true } })),
    ]);
    assert_eq!(endpoints(&cluster), ["192.168.0.1:80"]);
}

#[test]
fn both_families_of_a_pod_serve() {
    let ips = json!({ "status": { "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::a" }] } });
    let cluster = cluster([
        service(json!({ "spec": { "clusterIPs": ["10.96.0.1", "fd00::1"] } })),
        pod("a", "10.0.0.1", ips),
    ]);
    assert_eq!(texts(&port(&cluster, 80, Family::V4)), ["10.0.0.1:80 a"]);
    assert_eq!(texts(&port(&cluster, 80, Family::V6)), ["[fd00::a]:80 a"]);
}

#[test]
fn local_traffic_in_manifests_includes_pods_of_no_node() {
    let manifests = cluster([
        service(json!({ "spec": { "internalTrafficPolicy": "Local" } })),
        pod("a", "10.0.0.1", json!({ "spec": { "nodeName": null } })),
        pod("b", "10.0.0.2", json!({ "spec": { "nodeName": "there" } })),
    ]);
    assert_eq!(endpoints(&manifests), ["10.0.0.1:80 a"]);
}

#[test]
fn a_pod_that_changes_its_labels_changes_its_services() {
    let mut cluster = cluster([service(json!({})), pod("a", "10.0.0.1", json!({}))]);
    let relabelled = json!({ "metadata": { "labels": { "app": "db" } } });
    let dirty = upsert(&mut cluster, [pod("a", "10.0.0.1", relabelled)]);
    assert!(dirty.services.contains(&web()));
    assert_eq!(endpoints(&cluster), [""; 0]);
    let dirty = upsert(&mut cluster, [pod("a", "10.0.0.1", json!({}))]);
    assert!(dirty.services.contains(&web()));
    assert_eq!(endpoints(&cluster), ["10.0.0.1:80 a"]);
}

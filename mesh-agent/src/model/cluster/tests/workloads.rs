//! Pods: enrolment, locality, addresses.

use super::*;

fn workload(cluster: &Cluster, name: &str) -> Option<Workload> {
    cluster.workload(&key(name))
}

#[test]
fn the_pod_decides_over_its_namespace() {
    for (of_namespace, of_pod, expected) in [
        ("", "", false),
        ("enabled", "", true),
        ("disabled", "", false),
        ("enabled", "disabled", false),
        ("disabled", "enabled", true),
        ("", "enabled", true),
        ("enabled", "maybe", true),
        ("maybe", "", false),
    ] {
        let label = match of_pod {
            "" => json!({}),
            value => json!({ "metadata": { "labels": { "mesh-agent.io/dataplane": value } } }),
        };
        let cluster = cluster([pod("a", "10.0.0.1", label), namespace("shop", of_namespace)]);
        let enrolled = workload(&cluster, "a").unwrap().enrolled;
        assert_eq!(enrolled, expected, "{of_namespace:?} {of_pod:?}");
        assert_eq!(cluster.local_enrolled().count(), usize::from(expected));
    }
}

#[test]
fn the_fail_mode_is_the_namespaces_and_what_nobody_knows_is_closed() {
    for (value, expected) in [
        (json!({}), false),
        (json!({ "mesh-agent.io/fail-mode": "open" }), false),
        (json!({ "mesh-agent.io/fail-mode": "closed" }), true),
        (json!({ "mesh-agent.io/fail-mode": "Open" }), true),
    ] {
        let annotated = object(json!({ "kind": "Namespace", "metadata": {
            "name": "shop", "labels": { "mesh-agent.io/dataplane": "enabled" }, "annotations": value } }));
        // A pod has no say in it.
        let open = json!({ "metadata": { "annotations": { "mesh-agent.io/fail-mode": "open" } } });
        let mut cluster = cluster([pod("a", "10.0.0.1", open), namespace("shop", "enabled")]);
        let dirty = upsert(&mut cluster, [annotated]);
        assert_eq!(workload(&cluster, "a").unwrap().fails_closed, expected, "{value}");
        assert_eq!(dirty.pods.len(), usize::from(expected), "{value}");
        let problems: Vec<_> = cluster.problems().map(|it| it.to_string()).collect();
        let odd = value["mesh-agent.io/fail-mode"] == "Open";
        assert_eq!(problems.len(), usize::from(odd), "{problems:?}");
        assert!(
            problems.iter().all(|it| it.contains("counts as closed")),
            "{problems:?}"
        );
    }
}

#[test]
fn static_pods_are_known_to_the_kubelet_by_a_hash_that_nobody_else_claims() {
    let of = |hash: &str| json!({ "metadata": { "annotations": { "kubernetes.io/config.hash": hash } } });
    let id = |cluster: &Cluster, name| {
        let pod = cluster.local_enrolled().find(|pod| *pod.key == key(name));
        pod.and_then(|pod| pod.kubelet_id.map(ToOwned::to_owned))
    };
    let mut cluster = cluster([
        namespace("shop", "enabled"),
        pod("a", "10.0.0.1", of("9f1c3ae6")),
        pod("b", "10.0.0.2", of("2a8e1f5c-7d1b-4c6e-9b0a-3f2d4e5a6b7c")),
        pod("c", "10.0.0.3", json!({})),
    ]);
    assert_eq!(id(&cluster, "a").as_deref(), Some("9f1c3ae6"));
    assert_eq!(id(&cluster, "b"), None, "that is somebody's uid");
    assert_eq!(id(&cluster, "c").as_deref(), Some(&*key("c").uid));
    let _ = upsert(&mut cluster, [pod("d", "10.0.0.4", of("9f1c3ae6"))]);
    assert_eq!(id(&cluster, "a"), None, "two pods say so");
    let elsewhere = json!({ "spec": { "nodeName": "there" }, "metadata": { "annotations": {
        "kubernetes.io/config.hash": "9f1c3ae6" } } });
    let _ = upsert(&mut cluster, [pod("d", "10.0.0.4", elsewhere)]);
    assert_eq!(id(&cluster, "a").as_deref(), Some("9f1c3ae6"));
}

#[test]
fn a_label_on_the_namespace_touches_its_pods() {
    let mut cluster = cluster([
        pod("a", "10.0.0.1", json!({})),
        pod("b", "10.0.0.2", json!({ "metadata": { "namespace": "other" } })),
    ]);
    let dirty = upsert(&mut cluster, [namespace("shop", "enabled")]);
    assert_eq!(dirty.pods.into_iter().collect::<Vec<_>>(), [key("a")]);
    assert!(upsert(&mut cluster, [namespace("shop", "enabled")]).is_empty());
    let dirty = cluster.apply(Event::Delete(ObjectRef::Namespace("shop".to_owned())));
    assert!(dirty.pods.contains(&key("a")));
    assert!(!workload(&cluster, "a").unwrap().enrolled);
}

#[test]
fn local_is_what_runs_here() {
    let bound = |node: &Value| pod("a", "10.0.0.1", json!({ "spec": { "nodeName": node } }));
    for (node, in_cluster, in_manifests) in [
        (json!("here"), true, true),
        (json!("there"), false, false),
        (json!(""), false, true),
        (Value::Null, false, true),
    ] {
        let mut of_server = Cluster::new("here");
        let _ = upsert(&mut of_server, [bound(&node)]);
        assert_eq!(workload(&of_server, "a").unwrap().local, in_cluster, "{node}");
        let manifests = cluster([bound(&node)]);
        assert_eq!(workload(&manifests, "a").unwrap().local, in_manifests, "{node}");
    }
}

#[test]
fn pods_that_ended_or_share_the_node_are_no_workloads() {
    for patch in [
        json!({ "status": { "phase": "Succeeded" } }),
        json!({ "status": { "phase": "Failed" } }),
        json!({ "spec": { "hostNetwork": true } }),
    ] {
        let cluster = cluster([namespace("shop", "enabled"), pod("a", "10.0.0.1", patch)]);
        assert_eq!(workload(&cluster, "a"), None);
        assert_eq!(cluster.pods().count(), 0);
        assert_eq!(cluster.local_enrolled().count(), 0);
    }
}

#[test]
fn a_pod_without_an_address_yet_is_a_workload_without_one() {
    let cluster = cluster([pod("a", "", json!({ "status": { "phase": "Pending" } }))]);
    assert_eq!(workload(&cluster, "a").unwrap().addresses, []);
}

#[test]
fn a_pod_created_anew_is_another_pod() {
    let mut cluster = cluster([pod("a", "10.0.0.1", json!({}))]);
    let reborn = pod("a", "10.0.0.2", json!({ "metadata": { "uid": "uid-new" } }));
    let dirty = upsert(&mut cluster, [reborn]);
    let new = PodKey {
        uid: "uid-new".into(),
        ..key("a")
    };
    assert!(dirty.pods.contains(&key("a")) && dirty.pods.contains(&new));
    assert_eq!(workload(&cluster, "a"), None);
    assert_eq!(cluster.workload(&new).unwrap().addresses, [addr("10.0.0.2")]);
    assert_eq!(cluster.pods().collect::<Vec<_>>(), [&new]);
}

#[test]
fn without_uids_a_pod_with_another_address_is_another_pod() {
    let bare = |ip: &str| pod("a", ip, json!({ "metadata": { "uid": null } }));
    let mut cluster = cluster([bare("10.0.0.1")]);
    let before = cluster.pods().next().cloned().unwrap();
    let _ = upsert(&mut cluster, [bare("10.0.0.2")]);
    assert_ne!(cluster.pods().next(), Some(&before));
    assert_eq!(cluster.workload(&before), None);
}

#[test]
fn an_address_used_again_belongs_to_the_living_and_the_newer() {
    let ending = json!({ "metadata": { "deletionTimestamp": "2026-11-20T16:04:08Z" } });
    let ended = json!({ "status": { "phase": "Succeeded" } });
    let old = json!({ "metadata": { "creationTimestamp": "2026-11-20T16:00:00Z" } });
    let new = json!({ "metadata": { "creationTimestamp": "2026-11-20T17:00:00Z" } });
    for (why, a, b, owner, touched, reported) in [
        ("ending", ending, json!({}), "b", 2, 0),
        ("newer", new, old, "a", 2, 1),
        ("ended", ended, json!({}), "b", 1, 0),
        ("equal", json!({}), json!({}), "b", 2, 1),
    ] {
        let mut cluster = cluster([
            service(json!({})),
            slice("s", json!([{ "addresses": ["10.0.0.1"] }])),
            pod("a", "10.0.0.1", a),
            pod("b", "10.0.0.1", b),
        ]);
        for name in ["a", "b"] {
            let addresses = workload(&cluster, name).map_or(0, |it| it.addresses.len());
            assert_eq!(addresses, usize::from(name == owner), "{why}: {name}");
        }
        assert_eq!(endpoints(&cluster), [format!("10.0.0.1:8080 {owner}")], "{why}");
        assert_eq!(problems(&cluster).len(), reported, "{why}");

        // When the owner goes, the other one has it.
        let dirty = cluster.apply(Event::Delete(ObjectRef::Pod(key(owner).object)));
        assert!(dirty.services.contains(&web()), "{why}");
        assert_eq!(dirty.pods.len(), touched, "{why}");
        assert_eq!(problems(&cluster), [""; 0], "{why}");
    }
}

#[test]
fn local_enrolled_pods_are_listed_with_what_finds_their_namespace() {
    let objects = || {
        [
            namespace("shop", "enabled"),
            pod(
                "a",
                "10.0.0.1",
                json!({ "metadata": { "annotations": { "mesh-agent.io/netns": "web" } } }),
            ),
            pod("b", "10.0.0.2", json!({ "spec": { "nodeName": "there" } })),
        ]
    };
    // In a cluster the authors of pods do not choose network namespaces.
    for (mut cluster, netns) in [
        (Cluster::new("here"), None),
        (Cluster::for_manifests("here"), Some("web")),
    ] {
        let _ = upsert(&mut cluster, objects());
        let local: Vec<_> = cluster.local_enrolled().collect();
        let expected = LocalPod {
            key: &key("a"),
            addresses: vec![addr("10.0.0.1")],
            netns,
            kubelet_id: Some(&key("a").uid),
        };
        assert_eq!(local, [expected]);
        assert_eq!(cluster.local_enrolled_pod(&key("a")).as_ref(), local.first());
        assert_eq!(cluster.local_enrolled_pod(&key("b")), None);
    }
}

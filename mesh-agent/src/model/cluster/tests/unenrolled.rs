//! Pods that ask for the mesh and are not in it, and Istio's word for asking.

use super::*;

const AMBIENT: &str = "istio.io/dataplane-mode";
const OURS: &str = "mesh-agent.io/dataplane";

fn labelled(name: &str, labels: &Value) -> Object {
    object(json!({ "kind": "Namespace", "metadata": { "name": name, "labels": labels } }))
}

fn sidecar() -> Value {
    json!({ "spec": { "containers": [{ "name": "app" }, { "name": "istio-proxy" }] } })
}

fn redirected() -> Value {
    json!({ "metadata": { "annotations": { "ambient.istio.io/redirection": "enabled" } } })
}

fn kept_out(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.unenrolled();
    pods.map(|(pod, why)| format!("{pod}: {why}")).collect()
}

fn is_enrolled(cluster: &Cluster) -> bool {
    cluster.workload(&key("a")).unwrap().enrolled
}

#[test]
fn who_asks_and_is_not_in_it_is_known_with_the_reason() {
    for (in_mesh, patch, expected) in [
        ("enabled", json!({}), None),
        ("enabled", sidecar(), Some("shop/a: other-mesh (istio-proxy)")),
        ("enabled", redirected(), Some("shop/a: other-mesh (ambient)")),
        (
            "enabled",
            json!({ "spec": { "hostNetwork": true } }),
            Some("shop/a: host-network"),
        ),
        (
            "enabled",
            json!({ "spec": { "runtimeClassName": "gvisor" } }),
            Some("shop/a: unsupported (gvisor)"),
        ),
        // Who does not ask, is elsewhere or has ended is nobody's business.
        ("", sidecar(), None),
        (
            "enabled",
            json!({ "metadata": { "labels": { OURS: "disabled" } }, "spec": { "hostNetwork": true } }),
            None,
        ),
        (
            "enabled",
            json!({ "spec": { "hostNetwork": true, "nodeName": "there" } }),
            None,
        ),
        (
            "enabled",
            json!({ "spec": { "hostNetwork": true }, "status": { "phase": "Failed" } }),
            None,
        ),
    ] {
        let cluster = cluster([namespace("shop", in_mesh), pod("a", "10.0.0.1", patch.clone())]);
        assert_eq!(
            kept_out(&cluster),
            expected.into_iter().collect::<Vec<_>>(),
            "{patch}"
        );
        if expected.is_some() {
            assert_eq!(cluster.local_enrolled().count(), 0);
            // It keeps its address, and so its name, where it has one of its own.
            let workload = cluster.workload(&key("a"));
            assert!(workload.is_none_or(|it| !it.enrolled && it.addresses == [addr("10.0.0.1")]));
        }
    }
}

#[test]
fn a_pod_that_another_mesh_takes_leaves_and_comes_back() {
    let mut cluster = cluster([namespace("shop", "enabled"), pod("a", "10.0.0.1", json!({}))]);
    assert!(is_enrolled(&cluster));
    for (patch, enrolled) in [(redirected(), false), (json!({}), true)] {
        let next = pod("a", "10.0.0.1", patch);
        assert!(
            cluster.relabels(&Event::Upsert(next.clone())),
            "what is said of it changes"
        );
        let dirty = upsert(&mut cluster, [next]);
        assert!(dirty.pods.contains(&key("a")));
        assert_eq!(is_enrolled(&cluster), enrolled);
    }
}

#[test]
fn what_is_said_of_pods_without_a_workload_changes_with_them() {
    let host = |phase: &str| {
        pod(
            "a",
            "",
            json!({ "spec": { "hostNetwork": true }, "status": { "phase": phase } }),
        )
    };
    let mut cluster = cluster([namespace("shop", "enabled")]);
    for (event, changes) in [
        (Event::Upsert(host("Pending")), true),
        (Event::Upsert(host("Running")), false),
        (Event::Upsert(namespace("shop", "enabled")), false),
        (Event::Upsert(namespace("shop", "disabled")), true),
        (Event::Upsert(host("Failed")), true),
        (Event::Upsert(host("Running")), true),
        (Event::Delete(ObjectRef::Pod(key("a").object)), true),
    ] {
        assert_eq!(cluster.relabels(&event), changes, "{event:?}");
        let _ = cluster.apply(event);
    }
}

#[test]
fn istios_label_counts_where_it_is_honoured_and_ours_says_nothing() {
    let (ambient, none, other) = (
        json!({ AMBIENT: "ambient" }),
        json!({ AMBIENT: "none" }),
        json!({ AMBIENT: "x" }),
    );
    let enabled = json!({ OURS: "enabled" });
    let nothing = json!({});
    for (of_namespace, of_pod, expected) in [
        (&ambient, &nothing, true),
        (&nothing, &ambient, true),
        (&ambient, &none, false),
        (&none, &ambient, true),
        (&other, &nothing, false),
        (&ambient, &other, true),
        (&json!({ OURS: "disabled", AMBIENT: "ambient" }), &nothing, false),
        (&enabled, &none, false),
        (&none, &enabled, true),
        (&ambient, &json!({ OURS: "disabled" }), false),
        (&nothing, &json!({ OURS: "enabled", AMBIENT: "none" }), true),
    ] {
        let objects = [
            labelled("shop", of_namespace),
            pod("a", "10.0.0.1", json!({ "metadata": { "labels": of_pod } })),
        ];
        let mut honouring = Cluster::new("here").honoring_istio(true);
        let _ = upsert(&mut honouring, objects.clone());
        assert_eq!(is_enrolled(&honouring), expected, "{of_namespace} {of_pod}");

        let ours = |labels: &Value| labels.get(OURS).map(|word| word == "enabled");
        let without = ours(of_pod).or(ours(of_namespace)).unwrap_or(false);
        assert_eq!(is_enrolled(&cluster(objects)), without, "{of_namespace} {of_pod}");
    }
    // Where Istio itself redirects the pod, it is Istio's.
    let mut honouring = Cluster::new("here").honoring_istio(true);
    let _ = upsert(
        &mut honouring,
        [labelled("shop", &ambient), pod("a", "10.0.0.1", redirected())],
    );
    assert_eq!(kept_out(&honouring), ["shop/a: other-mesh (ambient)"]);
}

#[test]
fn istios_label_on_a_namespace_touches_its_pods() {
    let mut cluster = Cluster::new("here").honoring_istio(true);
    let _ = upsert(&mut cluster, [pod("a", "10.0.0.1", json!({}))]);
    let dirty = upsert(&mut cluster, [labelled("shop", &json!({ AMBIENT: "ambient" }))]);
    assert!(dirty.pods.contains(&key("a")) && is_enrolled(&cluster));
}

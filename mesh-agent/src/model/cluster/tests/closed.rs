//! Where a namespace fails closed, no pod leaves the mesh by its own word.

use super::*;

const OURS: &str = "mesh-agent.io/dataplane";
const ISTIO: &str = "istio.io/dataplane-mode";

fn closed(mode: &str, labels: Value) -> Object {
    let annotations = json!({ "mesh-agent.io/fail-mode": mode });
    let metadata = json!({ "name": "shop", "labels": labels, "annotations": annotations });
    object(json!({ "kind": "Namespace", "metadata": metadata }))
}

fn saying(labels: Value) -> Object {
    pod("a", "10.0.0.1", json!({ "metadata": { "labels": labels } }))
}

fn honouring(objects: [Object; 2]) -> Cluster {
    let mut cluster = Cluster::for_manifests("here").honoring_istio(true);
    let _ = upsert(&mut cluster, objects);
    cluster
}

fn doubt(label: &str) -> Vec<String> {
    let doubt = "does not count: the namespace fails closed, so only the namespace's own label takes pods out of the mesh";
    vec![format!("Pod shop/a: metadata.labels[{label}]: {doubt}")]
}

#[test]
fn the_word_of_the_namespace_counts() {
    let enabled = json!({ OURS: "enabled" });
    for (mode, of_namespace, of_pod, enrolled, doubts) in [
        ("closed", enabled.clone(), json!({}), true, vec![]),
        (
            "closed",
            enabled.clone(),
            json!({ OURS: "enabled" }),
            true,
            vec![],
        ),
        (
            "closed",
            enabled.clone(),
            json!({ OURS: "disabled" }),
            true,
            doubt(OURS),
        ),
        (
            "open",
            enabled.clone(),
            json!({ OURS: "disabled" }),
            false,
            vec![],
        ),
        // It is not in the mesh itself, so there is nothing to leave.
        ("closed", json!({}), json!({ OURS: "disabled" }), false, vec![]),
        (
            "closed",
            json!({ OURS: "disabled" }),
            json!({ OURS: "disabled" }),
            false,
            vec![],
        ),
        ("closed", json!({ OURS: "disabled" }), json!({}), false, vec![]),
        (
            "closed",
            json!({ OURS: "disabled" }),
            json!({ OURS: "enabled" }),
            true,
            vec![],
        ),
        // The same in Istio's words, and in both.
        (
            "closed",
            enabled.clone(),
            json!({ ISTIO: "none" }),
            true,
            doubt(ISTIO),
        ),
        (
            "closed",
            json!({ ISTIO: "ambient" }),
            json!({ OURS: "disabled" }),
            true,
            doubt(OURS),
        ),
        (
            "closed",
            json!({ ISTIO: "ambient" }),
            json!({ ISTIO: "none" }),
            true,
            doubt(ISTIO),
        ),
        (
            "open",
            json!({ ISTIO: "ambient" }),
            json!({ ISTIO: "none" }),
            false,
            vec![],
        ),
    ] {
        let cluster = honouring([closed(mode, of_namespace.clone()), saying(of_pod.clone())]);
        let is_enrolled = cluster.workload(&key("a")).unwrap().enrolled;
        assert_eq!(is_enrolled, enrolled, "{mode} {of_namespace} {of_pod}");
        assert_eq!(cluster.local_enrolled().count(), usize::from(enrolled));
        assert_eq!(problems(&cluster), doubts, "{mode} {of_namespace} {of_pod}");
    }
}

#[test]
fn istios_word_is_no_word_where_it_does_not_count() {
    let cluster = cluster([
        closed("closed", json!({ ISTIO: "ambient" })),
        saying(json!({ OURS: "disabled" })),
    ]);
    assert!(!cluster.workload(&key("a")).unwrap().enrolled);
    assert_eq!(problems(&cluster), [""; 0]);
}

#[test]
fn what_cannot_be_in_the_mesh_stays_out() {
    let out = json!({ OURS: "disabled" });
    for patch in [
        json!({ "spec": { "hostNetwork": true } }),
        json!({ "spec": { "runtimeClassName": "gvisor" } }),
        json!({ "spec": { "containers": [{ "name": "istio-proxy" }] } }),
        json!({ "status": { "phase": "Failed" } }),
    ] {
        let mut of_pod = json!({ "metadata": { "labels": out } });
        merge(&mut of_pod, patch.clone());
        let enabled = json!({ OURS: "enabled" });
        let cluster = cluster([closed("closed", enabled), pod("a", "10.0.0.1", of_pod)]);
        assert!(
            cluster.workload(&key("a")).is_none_or(|it| !it.enrolled),
            "{patch}"
        );
        assert_eq!(
            (cluster.unenrolled().count(), problems(&cluster).len()),
            (0, 0),
            "{patch}"
        );
    }
}

#[test]
fn it_follows_the_namespace() {
    let enabled = || json!({ OURS: "enabled" });
    let enrolled = |cluster: &Cluster| cluster.workload(&key("a")).unwrap().enrolled;
    let mut cluster = cluster([closed("open", enabled()), saying(json!({ OURS: "disabled" }))]);
    assert!(!enrolled(&cluster));
    let dirty = upsert(&mut cluster, [closed("closed", enabled())]);
    assert!(dirty.pods.contains(&key("a")) && enrolled(&cluster));
    let dirty = upsert(&mut cluster, [closed("closed", json!({ OURS: "disabled" }))]);
    assert!(dirty.pods.contains(&key("a")) && !enrolled(&cluster));
    assert_eq!(problems(&cluster), [""; 0]);
}

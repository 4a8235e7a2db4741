//! Objects of the API server as an archive has them: without what an overlay may have put there in confidence, as
//! `HTTPS_PROXY=http://user:password@proxy`.

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Pod, PodSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// kubectl's copy of the whole object (`kubectl apply`).
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Stands for a value that is left out.
const LEFT_OUT: &str = "(left out)";

/// A DaemonSet.
#[must_use]
pub fn daemon_set(mut set: DaemonSet) -> DaemonSet {
    metadata(&mut set.metadata);
    if let Some(spec) = &mut set.spec {
        spec.template.metadata.iter_mut().for_each(metadata);
        spec.template.spec.iter_mut().for_each(environment);
    }
    set
}

/// A pod.
#[must_use]
pub fn pod(mut pod: Pod) -> Pod {
    metadata(&mut pod.metadata);
    pod.spec.iter_mut().for_each(environment);
    pod
}

fn metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// Names stay, and where a value comes from (`valueFrom`).
fn environment(spec: &mut PodSpec) {
    let first = spec.init_containers.iter_mut().flatten();
    let later = spec.ephemeral_containers.iter_mut().flatten();
    let all = first
        .chain(&mut spec.containers)
        .map(|it| &mut it.env)
        .chain(later.map(|it| &mut it.env));
    for value in all.flatten().flatten().filter_map(|it| it.value.as_mut()) {
        LEFT_OUT.clone_into(value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_string};

    use super::*;

    fn container() -> Value {
        json!({"name": "c", "env": [
            {"name": "HTTPS_PROXY", "value": "http://user:secret@proxy"},
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ]})
    }

    fn template() -> Value {
        json!({
            "metadata": {"name": "a", "annotations": {LAST_APPLIED: "secret", "kept": "yes"}},
            "spec": {
                "containers": [container()], "initContainers": [container()], "ephemeralContainers": [container()],
            },
        })
    }

    #[test]
    fn values_are_left_out_and_names_and_sources_stay() {
        let set = json!({
            "metadata": {"annotations": {LAST_APPLIED: "secret"}},
            "spec": {"selector": {}, "template": template()},
        });
        for text in [
            to_string(&pod(from_value(template()).unwrap())).unwrap(),
            to_string(&daemon_set(from_value(set).unwrap())).unwrap(),
        ] {
            assert!(!text.contains("secret"), "{text}");
            for word in ["HTTPS_PROXY", LEFT_OUT, "spec.nodeName"] {
                assert_eq!(text.matches(word).count(), 3, "{word}: {text}");
            }
            assert!(text.contains("kept"), "{text}");
        }
    }
}

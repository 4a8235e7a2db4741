//! Whether every field is one that the API server knows, of the type it knows.

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::finding::Finding;
use crate::world::{Object, World};

/// Labels every object has.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>
pub const LABELS: [&str; 5] = ["name", "part-of", "component", "version", "managed-by"];

/// Reads every object as its type and writes it again: what is lost on the way is unknown.
pub fn check(world: &World) -> Vec<Finding> {
    world.objects().flat_map(judge).collect()
}

fn judge(object: Object<'_>) -> Vec<Finding> {
    let mut findings: Vec<_> = unlabelled(object, "/metadata/labels").collect();
    if object.name().is_empty() {
        findings.push(object.finding("/metadata/name", "missing"));
    }
    let Some(round_trip) = of_kind(object.text("/apiVersion"), object.kind()) else {
        findings.push(object.finding("/kind", "a kind that is not checked: teach mesh-manifests"));
        return findings;
    };
    match round_trip(object.value) {
        Err((pointer, why)) => findings.push(object.finding(&pointer, why)),
        Ok(back) => {
            let mut lost = Vec::new();
            compare(object.value, &back, "", &mut lost);
            findings.extend(
                lost.iter()
                    .map(|pointer| object.finding(pointer, "unknown field")),
            );
        }
    }
    findings
}

/// Which of the common labels are not there.
pub fn unlabelled<'a>(object: Object<'a>, pointer: &'a str) -> impl Iterator<Item = Finding> + 'a {
    LABELS.into_iter().filter_map(move |label| {
        let pointer = format!("{pointer}/app.kubernetes.io~1{label}");
        object
            .text(&pointer)
            .is_empty()
            .then(|| object.finding(&pointer, "missing"))
    })
}

type RoundTrip = fn(&Value) -> Result<Value, (String, String)>;

fn of_kind(api_version: &str, kind: &str) -> Option<RoundTrip> {
    macro_rules! kinds {
        ($($kind:ty),+ $(,)?) => {
            match (api_version, kind) {
                $((<$kind as Resource>::API_VERSION, <$kind as Resource>::KIND) => Some(round_trip::<$kind>),)+
                ("monitoring.coreos.com/v1", "PodMonitor") => Some(pod_monitor),
                _ => None,
            }
        };
    }
    kinds!(
        ClusterRole,
        ClusterRoleBinding,
        ConfigMap,
        DaemonSet,
        Deployment,
        Namespace,
        NetworkPolicy,
        Role,
        Service,
        ServiceAccount,
    )
}

fn round_trip<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, (String, String)> {
    let typed: T = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string().replace('[', ".").replace(']', "");
        let pointer = format!("/{}", path.replace('.', "/"));
        (pointer, error.into_inner().to_string())
    })?;
    serde_json::to_value(typed).map_err(|error| (String::new(), error.to_string()))
}

/// Of the Prometheus operator's kind only what we use is known.
fn pod_monitor(value: &Value) -> Result<Value, (String, String)> {
    const KNOWN: [(&str, &[&str]); 4] = [
        ("", &["apiVersion", "kind", "metadata", "spec"]),
        ("/spec", &["selector", "podMetricsEndpoints"]),
        ("/spec/selector", &["matchLabels"]),
        (
            "/spec/podMetricsEndpoints/0",
            &["port", "path", "honorLabels", "interval"],
        ),
    ];
    for (pointer, known) in KNOWN {
        let fields = value.pointer(pointer).and_then(Value::as_object);
        let fields = fields.ok_or_else(|| (pointer.to_owned(), "missing".to_owned()))?;
        if let Some(unknown) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err((format!("{pointer}/{unknown}"), "unknown field".to_owned()));
        }
    }
    Ok(value.clone())
}

/// Collects what is in `before` and not in `after`. What is empty may be left out.
fn compare(before: &Value, after: &Value, pointer: &str, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(fields), _) => {
            for (key, value) in fields {
                let pointer = format!("{pointer}/{}", key.replace('/', "~1"));
                match after.get(key) {
                    Some(after) => compare(value, after, &pointer, lost),
                    None if is_empty(value) => {}
                    None => lost.push(pointer),
                }
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            for (number, (item, other)) in items.iter().zip(others).enumerate() {
                compare(item, other, &format!("{pointer}/{number}"), lost);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let world = World::of_text(text);
        let findings = check(&world).into_iter().map(|finding| finding.to_string());
        findings
            .filter(|line| !line.contains("app.kubernetes.io/"))
            .collect()
    }

    #[test]
    fn unknown_fields_are_named() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, lables: {x: y}}\n\
                    spec: {ports: [{port: 80, targetport: 8080}], externalIPs: []}\n";
        assert_eq!(
            findings(text),
            [
                "test.yaml, document 1, metadata.lables: unknown field",
                "test.yaml, document 1, spec.ports[0].targetport: unknown field"
            ]
        );
    }

    #[test]
    fn wrong_types_are_named() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: eighty}]}\n";
        let [finding] = &findings(text)[..] else {
            panic!("{:?}", findings(text))
        };
        assert!(finding.contains("spec.ports[0].port: invalid type"), "{finding}");
    }

    #[test]
    fn kinds_and_versions_that_are_not_known_are_not_passed_over() {
        for text in [
            "apiVersion: v2\nkind: Service\n",
            "apiVersion: v1\nkind: Servis\n",
        ] {
            let text = format!("{text}metadata: {{name: a}}\n");
            assert!(findings(&text)[0].contains("not checked"), "{text}");
        }
    }

    #[test]
    fn of_a_pod_monitor_what_we_use_is_known() {
        let text = "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nmetadata: {name: a}\n\
                    spec: {selector: {matchLabels: {}}, podMetricsEndpoints: [{prot: metrics}]}\n";
        assert_eq!(
            findings(text),
            ["test.yaml, document 1, spec.podMetricsEndpoints[0].prot: unknown field"]
        );
    }

    #[test]
    fn labels_are_asked_for() {
        let world = World::of_text(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {app.kubernetes.io/name: a}}\n",
        );
        assert_eq!(check(&world).len(), LABELS.len() - 1);
    }
}

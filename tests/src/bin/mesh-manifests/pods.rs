//! What pods say of themselves: images, privileges, ports, volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::finding::Finding;
use crate::strict;
use crate::world::{Object, World};

/// Where the pod is in a `DaemonSet` and in a `Deployment`.
pub const TEMPLATE: &str = "/spec/template";

/// How fast the pods of a `DaemonSet` are replaced.
const ROLLOUT: &str = "/spec/updateStrategy/rollingUpdate";

const CONTAINERS: [&str; 2] = [
    "/spec/template/spec/containers",
    "/spec/template/spec/initContainers",
];
const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

/// Everything that makes pods.
pub fn workloads(world: &World) -> impl Iterator<Item = Object<'_>> {
    world
        .objects()
        .filter(|object| object.get(TEMPLATE).is_some_and(Value::is_object))
}

/// The containers of a pod, each with its pointer.
pub fn containers(object: Object<'_>) -> impl Iterator<Item = (String, &Value)> {
    CONTAINERS.into_iter().flat_map(move |list| object.items(list))
}

/// Whether some container has a port of that name.
pub fn has_port(object: Object<'_>, name: &str) -> bool {
    let mut ports = containers(object).flat_map(|(_, it)| it["ports"].as_array().into_iter().flatten());
    ports.any(|port| port["name"] == name)
}

/// Checks every pod for itself.
pub fn check(world: &World) -> Vec<Finding> {
    workloads(world).flat_map(judge).collect()
}

fn judge(object: Object<'_>) -> Vec<Finding> {
    let mut findings: Vec<_> = strict::unlabelled(object, "/spec/template/metadata/labels").collect();
    for (pointer, container) in containers(object) {
        findings.extend(image(object, &pointer, container));
        findings.extend(probes(object, &pointer, container));
        findings.extend(capabilities(object, &pointer, container));
    }
    findings.extend(volumes(object));
    findings.extend(rollout(object.value).map(|what| object.finding(ROLLOUT, what)));
    findings
}

/// What an API server has against how the pods of a `DaemonSet` are replaced (`ValidateRollingUpdateDaemonSet`).
pub fn rollout(object: &Value) -> Option<String> {
    if object["kind"] != "DaemonSet" || object["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return None;
    }
    let pace = object.pointer(ROLLOUT).unwrap_or(&Value::Null);
    let is_zero = |field: &str, default: u64| match &pace[field] {
        Value::Null => default == 0,
        Value::String(text) => text.trim_end_matches('%') == "0",
        number => number.as_u64() == Some(0),
    };
    let wrong = is_zero("maxSurge", 0) == is_zero("maxUnavailable", 1);
    wrong.then(|| format!("one of maxSurge and maxUnavailable has to be 0, the other not: {pace}"))
}

/// An image without a tag is another one tomorrow.
fn image(object: Object<'_>, pointer: &str, container: &Value) -> Option<Finding> {
    let image = container["image"].as_str().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or(image);
    let pinned = image.contains("@sha256:") || name.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    let what = format!("{image:?} has no tag that stays");
    (!pinned).then(|| object.finding(&format!("{pointer}/image"), what))
}

fn probes(object: Object<'_>, pointer: &str, container: &Value) -> Vec<Finding> {
    let dangling = |probe: &&str| {
        let port = container[*probe]["httpGet"]["port"].as_str();
        port.is_some_and(|port| !has_port(object, port))
    };
    let finding = |probe: &str| {
        let field = format!("{pointer}/{probe}/httpGet/port");
        object.finding(&field, "no port of the container has this name")
    };
    PROBES.into_iter().filter(dangling).map(finding).collect()
}

/// All are dropped, and each that is added says why in the line before it.
fn capabilities(object: Object<'_>, pointer: &str, container: &Value) -> Vec<Finding> {
    let capabilities = format!("{pointer}/securityContext/capabilities");
    let mut findings = Vec::new();
    if container["securityContext"]["capabilities"]["drop"] != serde_json::json!(["ALL"]) {
        findings.push(object.finding(&format!("{capabilities}/drop"), "not [ALL]"));
    }
    for (pointer, capability) in object.items(&format!("{capabilities}/add")) {
        let capability = capability.as_str().unwrap_or_default();
        if !has_reason(&object.file.text, capability) {
            findings.push(object.finding(&pointer, format!("{capability} without a comment that says why")));
        }
    }
    findings
}

fn has_reason(text: &str, capability: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let item = format!("- {capability}");
    lines
        .windows(2)
        .any(|pair| pair[1] == item && pair[0].starts_with("# "))
}

/// What is mounted is there, and what is there is mounted.
fn volumes(object: Object<'_>) -> Vec<Finding> {
    let volumes: Vec<_> = object.items("/spec/template/spec/volumes").collect();
    let there: BTreeSet<_> = volumes
        .iter()
        .map(|(_, volume)| volume["name"].as_str())
        .collect();
    let mut mounted = BTreeSet::new();
    let mut findings = Vec::new();
    for (pointer, _) in containers(object) {
        for (pointer, mount) in object.items(&format!("{pointer}/volumeMounts")) {
            let name = mount["name"].as_str();
            mounted.insert(name);
            if !there.contains(&name) {
                findings.push(object.finding(&format!("{pointer}/name"), "no volume has this name"));
            }
        }
    }
    let unused = volumes
        .iter()
        .filter(|(_, volume)| !mounted.contains(&volume["name"].as_str()));
    findings.extend(unused.map(|(pointer, _)| object.finding(pointer, "not mounted")));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(container: &str) -> Vec<String> {
        let text = format!(
            "kind: Deployment\nspec:\n  template:\n    spec:\n      volumes: [{{name: a}}, {{name: b}}]\n      \
             containers:\n      - volumeMounts: [{{name: a}}, {{name: c}}]\n{container}"
        );
        let findings = check(&World::of_text(&text));
        let lines = findings.iter().map(ToString::to_string);
        lines
            .filter(|line| !line.contains("app.kubernetes.io/"))
            .map(|line| line.replace("test.yaml, document 1, spec.template.spec.", ""))
            .collect()
    }

    #[test]
    fn pods_are_looked_at() {
        let container = "        image: registry:5000/web\n        ports: [{name: http}]\n        \
                         readinessProbe: {httpGet: {port: web}}\n        livenessProbe: {httpGet: {port: http}}\n        \
                         securityContext:\n          capabilities:\n            add:\n            # why\n            - BPF\n            - SYS_ADMIN\n";
        assert_eq!(
            findings(container),
            [
                r#"containers[0].image: "registry:5000/web" has no tag that stays"#,
                "containers[0].readinessProbe.httpGet.port: no port of the container has this name",
                "containers[0].securityContext.capabilities.drop: not [ALL]",
                "containers[0].securityContext.capabilities.add[1]: SYS_ADMIN without a comment that says why",
                "containers[0].volumeMounts[1].name: no volume has this name",
                "volumes[1]: not mounted",
            ]
        );
    }

    #[test]
    fn a_daemon_set_brings_more_or_takes_some_away_but_not_both() {
        let wrong = |pace: Value| {
            let update = serde_json::json!({ "rollingUpdate": pace });
            rollout(&serde_json::json!({ "kind": "DaemonSet", "spec": { "updateStrategy": update } }))
                .is_some()
        };
        for (surge, unavailable, refused) in [
            (1.into(), 0.into(), false),
            (0.into(), "100%".into(), false),
            (Value::Null, Value::Null, false),
            (1.into(), "100%".into(), true),
            ("0%".into(), 0.into(), true),
            (1.into(), Value::Null, true),
        ] {
            let pace = serde_json::json!({ "maxSurge": surge, "maxUnavailable": unavailable });
            assert_eq!(wrong(pace.clone()), refused, "{pace}");
        }
    }

    #[test]
    fn a_tag_or_a_digest_stays() {
        for (image, good) in [
            ("web:1", true),
            ("web:latest", false),
            ("web", false),
            ("r:5/web@sha256:0", true),
        ] {
            let container = format!(
                "        image: {image}\n        securityContext: {{capabilities: {{drop: [ALL]}}}}\n"
            );
            let about_image = findings(&container).iter().any(|line| line.contains("image"));
            assert_eq!(!about_image, good, "{image}");
        }
    }
}

//! What objects say of each other.

use serde_json::Value;

use crate::finding::Finding;
use crate::kustomization;
use crate::pods::{self, TEMPLATE};
use crate::world::{Object, World};

/// Checks that what is named is there, and that what is selected is somebody.
pub fn check(world: &World) -> Vec<Finding> {
    let mut findings: Vec<_> = world.objects().filter_map(|it| namespace(world, it)).collect();
    findings.extend(
        world
            .of("ClusterRoleBinding")
            .flat_map(|binding| role(world, binding)),
    );
    findings.extend(pods::workloads(world).flat_map(|workload| of_workload(world, workload)));
    for (kind, selector, ports, port) in [
        ("Service", "/spec/selector", "/spec/ports", "targetPort"),
        (
            "NetworkPolicy",
            "/spec/podSelector/matchLabels",
            "/spec/ingress/0/ports",
            "port",
        ),
        (
            "PodMonitor",
            "/spec/selector/matchLabels",
            "/spec/podMetricsEndpoints",
            "port",
        ),
    ] {
        for object in world.of(kind) {
            findings.extend(selected(world, object, selector, ports, port));
        }
    }
    findings
}

fn namespace(world: &World, object: Object<'_>) -> Option<Finding> {
    let namespace = object.namespace();
    let known = namespace.is_empty() || world.of("Namespace").any(|it| it.name() == namespace);
    (!known).then(|| object.finding("/metadata/namespace", "no Namespace has this name"))
}

fn role(world: &World, binding: Object<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let role = (binding.text("/roleRef/kind"), binding.text("/roleRef/name"));
    if !world.of(role.0).any(|it| it.name() == role.1) {
        findings.push(binding.finding("/roleRef", "no such role"));
    }
    for (pointer, subject) in binding.items("/subjects") {
        let known = world
            .of("ServiceAccount")
            .any(|it| subject["namespace"] == it.namespace() && subject["name"] == it.name());
        if !known {
            findings.push(binding.finding(&pointer, "no such ServiceAccount"));
        }
    }
    findings
}

fn of_workload(world: &World, workload: Object<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let labels = workload.get("/spec/template/metadata/labels");
    if !matches(workload.get("/spec/selector/matchLabels"), labels) {
        findings.push(workload.finding("/spec/selector", "does not match the labels of its own pods"));
    }
    let account = "/spec/template/spec/serviceAccountName";
    let name = workload.text(account);
    let has_account = |it: Object<'_>| (it.namespace(), it.name()) == (workload.namespace(), name);
    if !name.is_empty() && !world.of("ServiceAccount").any(has_account) {
        findings.push(workload.finding(account, "no such ServiceAccount"));
    }
    for (pointer, volume) in workload.items("/spec/template/spec/volumes") {
        let Some(name) = volume["configMap"]["name"].as_str() else {
            continue;
        };
        let wanted = (workload.namespace(), name);
        let made = kustomization::config_maps(world).any(|it| it == wanted);
        let there = world
            .of("ConfigMap")
            .any(|it| (it.namespace(), it.name()) == wanted);
        if !made && !there {
            findings.push(workload.finding(&pointer, format!("no ConfigMap {name:?}")));
        }
    }
    for (pointer, _) in pods::containers(workload) {
        for (pointer, _) in workload.items(&format!("{pointer}/envFrom")) {
            findings.push(workload.finding(&pointer, "a source that is not checked: teach mesh-manifests"));
        }
    }
    findings
}

/// A selector selects somebody, and whoever is selected has the ports that are named.
fn selected(world: &World, object: Object<'_>, selector: &str, ports: &str, port: &str) -> Vec<Finding> {
    let pods: Vec<_> = pods::workloads(world)
        .filter(|workload| workload.namespace() == object.namespace())
        .filter(|workload| {
            let labels = workload.get(&format!("{TEMPLATE}/metadata/labels"));
            matches(object.get(selector), labels)
        })
        .collect();
    if pods.is_empty() {
        return vec![object.finding(selector, "selects no pod")];
    }
    let dangling = |item: &Value| {
        let name = item[port].as_str()?;
        pods.iter().find(|workload| !pods::has_port(**workload, name))
    };
    object
        .items(ports)
        .filter_map(|(pointer, item)| {
            let workload = dangling(item)?;
            let what = format!("{} {} has no port of this name", workload.kind(), workload.name());
            Some(object.finding(&format!("{pointer}/{port}"), what))
        })
        .collect()
}

/// Whether all of these labels are there. Nothing matches everything, which is never meant.
fn matches(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let (Some(Value::Object(selector)), Some(labels)) = (selector, labels) else {
        return false;
    };
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

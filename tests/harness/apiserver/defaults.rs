//! What the server fills in, as far as readers of Namespaces, Pods, Services and policies rely on it.

use serde_json::{Value, json};

use super::resource::Resource;
use super::store::Store;
use super::write::empty;

fn set(map: &mut Value, field: &str, value: impl FnOnce() -> Value) {
    if map[field].is_null() {
        map[field] = value();
    }
}

fn items<'a>(map: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    map.get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// Fills in what depends on nothing but the object.
pub fn complete(resource: &Resource, value: &mut Value) {
    match (resource.group, resource.kind) {
        ("", "Namespace") => namespace(value),
        ("", "Service") => service(value),
        ("", "Pod") => pod(value),
        ("networking.k8s.io", "NetworkPolicy") => policy(value),
        _ => {}
    }
}

fn namespace(value: &mut Value) {
    let name = value["metadata"]["name"].clone();
    value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    set(&mut value["spec"], "finalizers", || json!(["kubernetes"]));
    set(&mut value["status"], "phase", || "Active".into());
}

fn pod(value: &mut Value) {
    let spec = &mut value["spec"];
    set(spec, "restartPolicy", || "Always".into());
    set(spec, "dnsPolicy", || "ClusterFirst".into());
    set(spec, "schedulerName", || "default-scheduler".into());
    set(spec, "terminationGracePeriodSeconds", || 30.into());
    set(spec, "enableServiceLinks", || true.into());
    set(spec, "securityContext", || json!({}));
    for container in items(spec, "containers") {
        set(container, "resources", || json!({}));
        for port in items(container, "ports") {
            set(port, "protocol", || "TCP".into());
        }
    }
    set(&mut value["status"], "phase", || "Pending".into());
}

fn service(value: &mut Value) {
    let spec = &mut value["spec"];
    set(spec, "type", || "ClusterIP".into());
    set(spec, "sessionAffinity", || "None".into());
    if spec["type"] != "ExternalName" {
        set(spec, "internalTrafficPolicy", || "Cluster".into());
    }
    if ["NodePort", "LoadBalancer"].contains(&spec["type"].as_str().unwrap_or_default()) {
        set(spec, "externalTrafficPolicy", || "Cluster".into());
    }
    for port in items(spec, "ports") {
        set(port, "protocol", || "TCP".into());
        let number = port["port"].clone();
        set(port, "targetPort", || number);
    }
    set(&mut value["status"], "loadBalancer", || json!({}));
}

/// `pkg/apis/networking/v1/defaults.go`.
fn policy(value: &mut Value) {
    let spec = &mut value["spec"];
    let has_egress = items(spec, "egress").next().is_some();
    let types: &[&str] = if has_egress {
        &["Ingress", "Egress"]
    } else {
        &["Ingress"]
    };
    if empty(spec.get("policyTypes")) {
        spec["policyTypes"] = json!(types);
    }
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            for port in items(rule, "ports") {
                set(port, "protocol", || "TCP".into());
            }
        }
    }
}

/// Gives a new Service its address: the first of 10.96.0.0/16 that no other has.
pub fn allocate(store: &Store, resource: &Resource, value: &mut Value) {
    if resource.kind != "Service" || value["spec"]["type"] == "ExternalName" {
        return;
    }
    let spec = &mut value["spec"];
    if empty(spec.get("clusterIP")) {
        spec["clusterIP"] = match spec["clusterIPs"].get(0) {
            Some(first) => first.clone(),
            None => free_address(store, resource).into(),
        };
    }
    let address = spec["clusterIP"].clone();
    set(spec, "clusterIPs", || json!([address]));
    let family = if address.as_str().is_some_and(|text| text.contains(':')) {
        "IPv6"
    } else {
        "IPv4"
    };
    set(spec, "ipFamilies", || json!([family]));
    set(spec, "ipFamilyPolicy", || "SingleStack".into());
}

fn free_address(store: &Store, resource: &Resource) -> String {
    let taken = |address: &str| {
        let text = format!("\"clusterIP\":\"{address}\"");
        let mut all = store.objects(resource).values();
        all.any(|object| object.contains(&text))
    };
    let first = u16::try_from(store.version() % 0xffff).unwrap_or_default();
    (0..u16::MAX)
        .map(|step| (first.wrapping_add(step) % 0xfffe) + 1)
        .map(|number| format!("10.96.{}.{}", number >> 8, number & 0xff))
        .find(|address| !taken(address))
        .unwrap_or_default()
}

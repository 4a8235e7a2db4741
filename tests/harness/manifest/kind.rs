//! The kinds of objects that tests write.

use std::net::IpAddr;

use mesh_common::names;
use serde_json::{Map, Value, json};

use super::{Endpoint, Manifest, Port};
use crate::agent::NODE_NAME;
use crate::pod::Pod;

/// A Namespace whose pods are in the mesh, or not.
#[must_use]
pub fn namespace(name: &str, in_mesh: bool) -> Manifest {
    let namespace = Manifest::new("v1", "Namespace", None, name);
    if in_mesh {
        namespace.label(names::dataplane::LABEL, names::dataplane::ENABLED)
    } else {
        namespace
    }
}

/// A Node in a zone.
#[must_use]
pub fn node(name: &str, zone: &str) -> Manifest {
    Manifest::new("v1", "Node", None, name).label(names::ZONE_LABEL, zone)
}

/// A Pod that runs and is ready, on this node.
#[must_use]
pub fn pod(namespace: &str, name: &str, labels: &[(&str, &str)], ips: &[IpAddr]) -> Manifest {
    let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let mut pod = Manifest::new("v1", "Pod", Some(namespace), name)
        .labels(labels)
        .set(
            "spec",
            json!({
                "nodeName": NODE_NAME,
                "serviceAccountName": "default",
                "containers": [{"name": "main", "image": "test"}],
            }),
        );
    pod.0["status"] = json!({"phase": "Running", "podIPs": addresses});
    if let Some(ip) = ips.first() {
        pod.0["status"]["podIP"] = json!(ip);
    }
    pod.condition("Ready", true)
}

/// The Pod of a sandbox's pod: its name and addresses, and its network namespace in the annotation.
#[must_use]
pub fn pod_of(namespace: &str, of: &Pod, labels: &[(&str, &str)]) -> Manifest {
    let netns = of.netns().display().to_string();
    pod(namespace, of.name(), labels, of.ips()).annotation(names::NETNS_ANNOTATION, &netns)
}

/// A Service; no address makes it headless.
#[must_use]
pub fn service(
    namespace: &str,
    name: &str,
    cluster_ips: &[IpAddr],
    ports: &[Port],
    selector: &[(&str, &str)],
) -> Manifest {
    let first = cluster_ips.first().map_or_else(|| json!("None"), |ip| json!(ip));
    let all = if cluster_ips.is_empty() {
        json!(["None"])
    } else {
        json!(cluster_ips)
    };
    let families: Vec<_> = cluster_ips.iter().map(|ip| family(*ip)).collect();
    let ports: Vec<_> = ports.iter().map(Port::of_service).collect();
    Manifest::new("v1", "Service", Some(namespace), name).set(
        "spec",
        json!({
            "type": "ClusterIP",
            "clusterIP": first,
            "clusterIPs": all,
            "ipFamilies": families,
            "ports": ports,
            "selector": map(selector),
        }),
    )
}

/// An `EndpointSlice` of a Service, with the family of its first endpoint.
#[must_use]
pub fn endpoint_slice(
    namespace: &str,
    service: &str,
    name: &str,
    ports: &[Port],
    endpoints: &[Endpoint],
) -> Manifest {
    let first = endpoints
        .first()
        .and_then(|endpoint| endpoint.0["addresses"][0].as_str()?.parse().ok());
    let ports: Vec<_> = ports.iter().map(Port::of_slice).collect();
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| endpoint.0.clone()).collect();
    Manifest::new("discovery.k8s.io/v1", "EndpointSlice", Some(namespace), name)
        .label(names::SERVICE_NAME_LABEL, service)
        .set("addressType", first.map_or("IPv4", family))
        .set("ports", ports)
        .set("endpoints", endpoints)
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn map(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect::<Map<_, _>>()
        .into()
}

//! The cluster as its users see it: objects in, services and workloads out.

#![allow(
    clippy::needless_pass_by_value,
    reason = "objects are written out where they are used"
)]

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
use mesh_common::service::Algorithm;
use serde_json::{Value, json};

use super::*;
use crate::model::desired::{Family, PortKey, ServicePort, Traffic};
use crate::model::object::{EndpointSlice, NetworkPolicy, Node, Object, Service};

mod closed;
mod derived;
mod dirty;
mod endings;
mod endpoints;
mod frontends;
mod order;
mod policies;
mod recorded;
mod scale;
mod unenrolled;
mod workloads;

/// An object from its manifest.
fn object(manifest: Value) -> Object {
    let kind = manifest["kind"].as_str().unwrap().to_owned();
    match kind.as_str() {
        "Namespace" => read::<core::Namespace, Namespace>(manifest),
        "Node" => read::<core::Node, Node>(manifest),
        "Pod" => read::<core::Pod, Pod>(manifest),
        "Service" => read::<core::Service, Service>(manifest),
        "NetworkPolicy" => read::<networking::NetworkPolicy, NetworkPolicy>(manifest),
        _ => read::<discovery::EndpointSlice, EndpointSlice>(manifest),
    }
}

fn read<A, T>(manifest: Value) -> Object
where
    A: serde::de::DeserializeOwned,
    T: TryFrom<A, Error = Invalid> + Into<Object>,
{
    let typed: A = serde_json::from_value(manifest).unwrap();
    T::try_from(typed).unwrap().into()
}

fn namespace(name: &str, dataplane: &str) -> Object {
    let labels = match dataplane {
        "" => json!({}),
        value => json!({ "mesh-agent.io/dataplane": value }),
    };
    object(json!({ "kind": "Namespace", "metadata": { "name": name, "labels": labels } }))
}

fn node(name: &str, zone: &str) -> Object {
    let labels = json!({ "topology.kubernetes.io/zone": zone });
    object(json!({ "kind": "Node", "metadata": { "name": name, "labels": labels } }))
}

/// A running pod `shop/<name>` labelled `app: web` on `here`, changed by `patch`.
fn pod(name: &str, ip: &str, patch: Value) -> Object {
    let mut pod = json!({
        "kind": "Pod",
        "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "labels": { "app": "web" } },
        "spec": { "nodeName": "here" },
        "status": { "phase": "Running", "podIP": ip },
    });
    merge(&mut pod, patch);
    object(pod)
}

/// A Service `shop/web` on 10.96.0.1:80, changed by `patch`.
fn service(patch: Value) -> Object {
    let mut service = json!({
        "kind": "Service",
        "metadata": { "namespace": "shop", "name": "web" },
        "spec": { "clusterIP": "10.96.0.1", "ports": [{ "port": 80 }], "selector": { "app": "web" } },
    });
    merge(&mut service, patch);
    object(service)
}

/// A slice of `shop/web` with port 8080.
fn slice(name: &str, endpoints: Value) -> Object {
    slice_of("web", name, "IPv4", json!([{ "port": 8080 }]), endpoints)
}

fn slice_of(service: &str, name: &str, family: &str, ports: Value, endpoints: Value) -> Object {
    object(json!({
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "shop",
            "name": name,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    }))
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(&key);
                } else {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch,
    }
}

fn cluster(objects: impl IntoIterator<Item = Object>) -> Cluster {
    let mut cluster = Cluster::for_manifests("here");
    let _ = upsert(&mut cluster, objects);
    cluster
}

fn upsert(cluster: &mut Cluster, objects: impl IntoIterator<Item = Object>) -> Dirty {
    let mut dirty = Dirty::default();
    for object in objects {
        dirty.merge(cluster.apply(Event::Upsert(object)));
    }
    dirty
}

fn web() -> ObjectName {
    ObjectName::new("shop", "web")
}

fn key(name: &str) -> PodKey {
    PodKey {
        object: ObjectName::new("shop", name),
        uid: format!("uid-{name}").into(),
    }
}

fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

/// One port of `shop/web`.
fn port(cluster: &Cluster, port: u16, family: Family) -> ServicePort {
    let key = PortKey {
        port,
        protocol: mesh_common::addr::Protocol::Tcp,
        family,
        traffic: Traffic::Internal,
    };
    cluster.service(&web()).unwrap()[&key].clone()
}

/// The endpoints of `shop/web:80` over IPv4, each as `address:port pod`.
fn endpoints(cluster: &Cluster) -> Vec<String> {
    texts(&port(cluster, 80, Family::V4))
}

fn texts(port: &ServicePort) -> Vec<String> {
    let text = |it: &crate::model::desired::Endpoint| {
        let socket = mesh_common::addr::socket_addr(it.addr, it.port);
        match &it.pod {
            Some(pod) => format!("{socket} {}", pod.object.name),
            None => socket.to_string(),
        }
    };
    port.endpoints.iter().map(text).collect()
}

fn problems(cluster: &Cluster) -> Vec<String> {
    cluster.problems().map(|problem| problem.to_string()).collect()
}

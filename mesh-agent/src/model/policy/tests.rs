//! The tables against the reading, and both against what the documentation says.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::networking::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_common::addr::Addr;
use serde::de::DeserializeOwned;

use super::*;
use crate::model::desired::ObjectName;
use crate::model::object::NetworkPolicy;

mod cases;
mod enforcement;
mod properties;
mod scale;
mod topology;
mod unsettled;

/// Reads YAML as 1.2 has it, where `y` is a name.
fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true }).unwrap()
}

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// `namespace/name`.
fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

/// A policy from its name and what its manifest says; nothing may be wrong with it.
fn policy(name: &ObjectName, spec: api::NetworkPolicySpec) -> Arc<NetworkPolicy> {
    let policy = NetworkPolicy::try_from(api::NetworkPolicy {
        metadata: ObjectMeta {
            namespace: Some(name.namespace.to_string()),
            name: Some(name.name.to_string()),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    });
    let policy = policy.unwrap();
    assert_eq!(policy.faults, []);
    Arc::new(policy)
}

/// Tables of a node that has all pods.
fn tables(cluster: &Cluster) -> Tables {
    Tables::new(cluster, 0..cluster.pods.len())
}

/// Holds the tables against the reading: the same passes, and a rule that is named does let it pass.
fn agree(cluster: &Cluster, tables: &Tables, question: &Question) -> Result<Verdict, String> {
    let (read, looked_up) = (reference::judge(cluster, question), tables.judge(question));
    let named = question.ask(|direction, pod, other| {
        let side = match direction {
            mesh_common::policy::Direction::Ingress => &looked_up.ingress,
            mesh_common::policy::Direction::Egress => &looked_up.egress,
        };
        let Side::Allowed(rule) = side else {
            return side.clone();
        };
        let mut rules = reference::allowing(cluster, &cluster.pods[pod], direction, other, question);
        rules.find(|it| it == rule).map_or(Side::Isolated, Side::Allowed)
    });
    let kind = |verdict: &Verdict| [&verdict.egress, &verdict.ingress].map(std::mem::discriminant);
    if kind(&read) == kind(&looked_up) && named == looked_up {
        Ok(read)
    } else {
        Err(format!("{question:?}: read {read:?}, looked up {looked_up:?}"))
    }
}

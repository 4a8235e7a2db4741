//! Who is there in every case.

use std::collections::BTreeMap;

use mesh_common::policy::Transport;
use serde::Deserialize;

use super::*;

/// `topology.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
    ports: BTreeMap<String, BTreeMap<String, String>>,
    outside: BTreeMap<String, [String; 2]>,
}

/// Somebody with a name.
pub(super) struct Somebody {
    /// `namespace/name` of a pod, else the name in the topology.
    pub(super) name: String,
    pub(super) pod: Option<usize>,
    /// IPv4 and IPv6.
    pub(super) addresses: [Addr; 2],
}

impl Somebody {
    /// Whether a list such as `x/*,y/a` or `out` has it.
    pub(super) fn is_in(&self, list: &str) -> bool {
        list.split(',').any(|pattern| match pattern.split_once('/') {
            None => match pattern {
                "*" => true,
                "pods" => self.pod.is_some(),
                "out" => self.pod.is_none(),
                name => self.name == name,
            },
            Some((namespace, pod)) => self.name.split_once('/').is_some_and(|(own_namespace, own_pod)| {
                ["*", own_namespace].contains(&namespace) && ["*", own_pod].contains(&pod)
            }),
        })
    }
}

/// The cluster without policies, and everybody in and around it.
pub(super) fn topology() -> (Cluster, Vec<Somebody>) {
    let file: File = yaml(super::cases::fixture!("topology.yaml"));
    let (mut pods, mut all) = (Vec::new(), Vec::new());
    for (namespace_at, namespace) in file.namespaces.keys().enumerate() {
        for (pod_at, (pod, labels)) in file.labels.iter().enumerate() {
            let (n, p) = (namespace_at + 1, pod_at + 1);
            let somebody = Somebody {
                name: format!("{namespace}/{pod}"),
                pod: Some(pods.len()),
                addresses: [format!("10.10.{n}.{p}"), format!("fd00:10:{n}::{p}")].map(|text| addr(&text)),
            };
            let ports = file.ports.iter().filter(|(pods, _)| somebody.is_in(pods));
            pods.push(Pod {
                name: name(&somebody.name),
                labels: labels.clone().into(),
                addresses: somebody.addresses.into(),
                ports: ports.flat_map(|(_, ports)| ports).map(named_port).collect(),
            });
            all.push(somebody);
        }
    }
    all.extend(file.outside.into_iter().map(|(name, addresses)| Somebody {
        name,
        pod: None,
        addresses: addresses.map(|text| addr(&text)),
    }));
    let namespaces = file.namespaces.into_iter();
    let cluster = Cluster {
        namespaces: namespaces
            .map(|(name, labels)| (name.into(), labels.into()))
            .collect(),
        pods,
        policies: BTreeMap::new(),
    };
    (cluster, all)
}

fn named_port((name, port): (&String, &String)) -> NamedPort {
    let (transport, port) = port.split_once('/').unwrap();
    NamedPort {
        name: name.clone(),
        transport: self::transport(transport),
        port: port.parse().unwrap(),
    }
}

pub(super) fn transport(name: &str) -> Transport {
    let known = Transport::ALL
        .into_iter()
        .find(|transport| transport.name() == name);
    known.unwrap_or_else(|| panic!("{name} is no protocol"))
}

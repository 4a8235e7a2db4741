//! Who is there in every case: `topology.yaml`, as objects and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use harness::Pod;
use harness::manifest::{self, Manifest};
use serde::Deserialize;
use serde_json::{Value, json};

const TEXT: &str = include_str!("../../../mesh-agent/tests/fixtures/policy/topology.yaml");

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
    ports: BTreeMap<String, BTreeMap<String, String>>,
    outside: BTreeMap<String, [IpAddr; 2]>,
}

/// Somebody with a name.
#[derive(Clone, Debug)]
pub struct Party {
    /// `namespace/name` of a pod, else the name in the topology.
    pub name: String,
    /// IPv4 and IPv6.
    pub ips: [IpAddr; 2],
}

impl Party {
    pub fn is_pod(&self) -> bool {
        self.name.contains('/')
    }

    /// Whether a list such as `x/*,y/a` or `out` has it.
    pub fn is_in(&self, list: &str) -> bool {
        list.split(',').any(|pattern| match pattern.split_once('/') {
            None => match pattern {
                "*" => true,
                "pods" => self.is_pod(),
                "out" => !self.is_pod(),
                name => self.name == name,
            },
            Some((namespace, pod)) => self.name.split_once('/').is_some_and(|own| {
                let fits = |pattern, own| ["*", own].contains(&pattern);
                fits(namespace, own.0) && fits(pod, own.1)
            }),
        })
    }
}

impl Topology {
    pub fn read() -> Self {
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(TEXT, options).expect("the topology")
    }

    /// The pods, then those outside.
    pub fn parties(&self) -> Vec<Party> {
        let namespaces = self.namespaces.keys().zip(1..);
        let pods = namespaces.flat_map(|(namespace, n)| {
            let pods = self.labels.keys().zip(1..);
            pods.map(move |(pod, p)| Party {
                name: format!("{namespace}/{pod}"),
                ips: [format!("10.10.{n}.{p}"), format!("fd00:10:{n}::{p}")]
                    .map(|text| text.parse().expect("an address")),
            })
        });
        let outside = self.outside.iter().map(|(name, ips)| Party {
            name: name.clone(),
            ips: *ips,
        });
        pods.chain(outside).collect()
    }

    /// The Namespace, in the mesh.
    pub fn namespace(&self, name: &str) -> Manifest {
        let labels = self.namespaces[name].iter();
        labels.fold(manifest::namespace(name, true), |object, (key, value)| {
            object.label(key, value)
        })
    }

    /// The Pod of a party that is one.
    pub fn pod(&self, party: &Party, pod: &Pod) -> Manifest {
        let (namespace, name) = party.name.split_once('/').expect("a pod");
        let labels = self.labels[name].iter();
        let object = manifest::pod(namespace, name, &[], &party.ips);
        let object = labels.fold(object, |object, (key, value)| object.label(key, value));
        let ports = self.ports.iter().filter(|(pods, _)| party.is_in(pods));
        let ports: Vec<Value> = ports.flat_map(|(_, ports)| ports).map(container_port).collect();
        let containers = json!([{"name": "main", "image": "test", "ports": ports}]);
        let netns = pod.netns().display().to_string();
        object
            .set("spec.containers", containers)
            .annotation(mesh_common::names::NETNS_ANNOTATION, &netns)
    }
}

fn container_port((name, port): (&String, &String)) -> Value {
    let (protocol, number) = port.split_once('/').expect("protocol/port");
    let number: u16 = number.parse().expect("a port");
    json!({"name": name, "protocol": protocol, "containerPort": number})
}

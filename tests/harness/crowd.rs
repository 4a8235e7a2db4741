//! A cluster of some size: six pods to a service, nearly all of them on other nodes.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::AgentBuilder;
use crate::cluster::Cluster;
use crate::manifest::{self, Endpoint, Manifest, Port};

/// Pods of a service.
const TEAM: usize = 6;

/// Many pods, and the services they serve.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pods: usize,
}

impl Crowd {
    /// Of that many pods, at most 62,500.
    #[must_use]
    pub fn new(pods: usize) -> Self {
        Self { pods }
    }

    /// How many services they serve.
    #[must_use]
    pub fn services(self) -> usize {
        self.pods.div_ceil(TEAM)
    }

    /// Writes all of it.
    pub fn join(self, cluster: &Cluster) -> Result<()> {
        (0..self.services()).try_for_each(|service| {
            let objects = self.objects(service);
            cluster.server.put_all(objects.iter().map(Manifest::tree))
        })
    }

    /// A Service, its pods, and its ten endpoints: pods serve more than one now and then.
    #[must_use]
    pub fn objects(self, service: usize) -> Vec<Manifest> {
        let app = app(service);
        let members = self.members(service);
        let mut objects: Vec<_> = members.clone().map(|number| pod(&app, number)).collect();
        let (ports, selector) = (ports(), [("app", app.as_str())]);
        objects.push(manifest::service(
            "shop",
            &app,
            &[vip(service)],
            &ports,
            &selector,
        ));
        objects.push(self.slice(service, None));
        let twice: Vec<_> = members.take(4).map(endpoint).collect();
        let other = format!("{app}-b");
        objects.push(manifest::endpoint_slice("shop", &other, &other, &ports, &twice));
        objects
    }

    /// The agent of a node of such a cluster, not yet started.
    #[must_use]
    pub fn agent(self, cluster: &Cluster) -> AgentBuilder<'_> {
        let size = |map: &str| format!("{map}={}", 2 * self.pods.max(8_192));
        ["WORKLOADS", "BACKENDS"]
            .iter()
            .fold(cluster.agent(), |agent, map| {
                agent.arg("--map-size").arg(size(map))
            })
    }

    /// The endpoints of a service: all of its pods, or all but one of these six.
    #[must_use]
    pub fn slice(self, service: usize, absent: Option<usize>) -> Manifest {
        let app = app(service);
        let present: Vec<_> = self.present(service, absent).map(endpoint).collect();
        manifest::endpoint_slice("shop", &app, &format!("{app}-a"), &ports(), &present)
    }

    /// Addresses of these endpoints.
    #[must_use]
    pub fn addresses(self, service: usize, absent: Option<usize>) -> Vec<IpAddr> {
        self.present(service, absent).map(ip).collect()
    }

    fn present(self, service: usize, absent: Option<usize>) -> impl Iterator<Item = usize> {
        let first = service * TEAM;
        self.members(service)
            .filter(move |pod| absent.is_none_or(|absent| *pod != first + absent))
    }

    fn members(self, service: usize) -> std::ops::Range<usize> {
        let first = service * TEAM;
        first..(first + TEAM).min(self.pods)
    }
}

/// Address of a service, port 80.
#[must_use]
pub fn vip(service: usize) -> IpAddr {
    spread(97, service * TEAM)
}

fn ip(pod: usize) -> IpAddr {
    spread(100, pod)
}

/// The address of a number in `10.second.0.0/16`.
fn spread(second: u8, number: usize) -> IpAddr {
    let octet = |number: usize| u8::try_from(number % 250).unwrap_or_default();
    Ipv4Addr::new(10, second, octet(number / 250), octet(number) + 1).into()
}

fn app(service: usize) -> String {
    format!("app-{service}")
}

fn ports() -> [Port; 1] {
    [Port::tcp(80).to(8080).named("http")]
}

fn endpoint(pod: usize) -> Endpoint {
    Endpoint::ready(ip(pod)).node("node-9")
}

fn pod(app: &str, number: usize) -> Manifest {
    let name = format!("{app}-7f9c6b5d4-{number:05}");
    manifest::pod("shop", &name, &[("app", app)], &[ip(number)])
        .set("spec.nodeName", format!("node-{}", 2 + number % 500))
        .set("metadata.managedFields", managed_fields())
}

/// Who wrote which field: most of a real pod.
fn managed_fields() -> Value {
    let fields: Map<_, _> = (0..60)
        .map(|field| {
            (
                format!("f:field-{field}"),
                json!({ ".": {}, "f:valueFrom": { "f:fieldRef": {} } }),
            )
        })
        .collect();
    json!([{ "manager": "kubelet", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields }])
}

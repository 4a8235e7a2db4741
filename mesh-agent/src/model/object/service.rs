//! Services: what clients dial, and how an endpoint is chosen.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_common::addr::{Addr, Protocol};
use mesh_common::names::load_balancing;
use mesh_common::service::Algorithm;

use super::invalid::{At, Fault, Misfit};
use super::{Invalid, Labels, ObjectRef, Setting, field, setting};
use crate::model::desired::{Family, ObjectName};

mod dialled;
#[cfg(test)]
mod tests;

use dialled::{Dialled, cluster_ips};
pub use dialled::{FrontendType, Untouched};

/// Time-out of `ClientIP` affinity where the Service gives none: three hours, as Kubernetes has it.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// Longest time-out of `ClientIP` affinity that Kubernetes takes: a day.
const MAX_AFFINITY_SECONDS: i32 = 86_400;

/// What the mesh uses of a Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ObjectName,
    /// Its own labels, in order.
    pub labels: Labels,
    /// The addresses clients dial on the Service's ports; none of a headless Service or an `ExternalName`.
    pub addresses: BTreeMap<Addr, FrontendType>,
    /// Addresses of load balancers that are left to the host, each with the reason.
    pub untouched: BTreeMap<Addr, Untouched>,
    /// Whether it should have a cluster IP and has no address at all.
    pub unallocated: bool,
    /// Its TCP and UDP ports.
    pub ports: Vec<ServicePort>,
    /// The labels of its pods; empty where its endpoints are somebody else's business.
    pub selector: Labels,
    /// Time-out of `ClientIP` affinity in seconds; 0 is no affinity.
    pub affinity_seconds: u32,
    /// How a backend is chosen.
    pub algorithm: Setting<Algorithm>,
    /// Whether who dials a cluster IP gets endpoints on the client's node only (`internalTrafficPolicy: Local`).
    pub local_only: bool,
    /// Whether endpoints serve before they are ready and while they end.
    pub publish_not_ready: bool,
}

/// A port of a Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServicePort {
    /// Its name, empty where it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
    /// The port of the pods behind it.
    pub target: TargetPort,
    /// Its number at the addresses of nodes, where it has one.
    pub node_port: Option<u16>,
    /// The protocol that is spoken over it (`http`, `kubernetes.io/h2c` ...), where the Service says so.
    pub app_protocol: Option<String>,
}

/// The port of a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name a container gives it.
    Name(String),
}

impl Service {
    /// Which object this is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::Service(self.name.clone())
    }

    /// Whether clients dial it over a family.
    #[must_use]
    pub fn serves(&self, family: Family) -> bool {
        self.addresses
            .keys()
            .chain(self.untouched.keys())
            .any(|addr| Family::of(addr) == family)
    }

    /// Whether its selector takes a pod with these labels.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        let has = |(key, value): (&str, &str)| labels.get(key) == Some(value);
        !self.selector.is_empty() && self.selector.iter().all(has)
    }

    pub(super) fn doubtful(&self) -> Vec<Invalid> {
        let object = self.reference();
        let algorithm = self.algorithm.doubt(
            &object,
            "annotations",
            load_balancing::ANNOTATION,
            "random, maglev",
        );
        let cluster_ip = self.unallocated.then(|| Invalid {
            object,
            field: "spec.clusterIP".to_owned(),
            fault: Fault::NoClusterIp,
        });
        algorithm.into_iter().chain(cluster_ip).collect()
    }
}

impl TryFrom<api::Service> for Service {
    type Error = Invalid;

    fn try_from(service: api::Service) -> Result<Self, Invalid> {
        let object = ObjectRef::Service(field::object_name(&service.metadata));
        convert(service).map_err(|misfit| misfit.of(&object))
    }
}

fn convert(service: api::Service) -> Result<Service, Misfit> {
    let (metadata, spec) = (service.metadata, service.spec.unwrap_or_default());
    let name = field::object_name(&metadata);
    field::check_object_name(&name)?;

    let external_name = external_name(&spec)?;
    let headless = cluster_ips(&spec).any(|(_, ip)| ip == "None");
    let Dialled { addresses, untouched } = if external_name || headless {
        Dialled::default()
    } else {
        Dialled::of(&spec, service.status.as_ref())?
    };
    Ok(Service {
        name,
        labels: metadata.labels.unwrap_or_default().into(),
        unallocated: addresses.is_empty() && !external_name && !headless,
        addresses,
        untouched,
        ports: ports(spec.ports.as_deref().unwrap_or_default())?,
        affinity_seconds: affinity_seconds(&spec)?,
        algorithm: setting::load_balancing(&metadata.annotations.unwrap_or_default()),
        local_only: local_only(&spec)?,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or_default(),
        selector: if external_name { None } else { spec.selector }
            .unwrap_or_default()
            .into(),
    })
}

fn external_name(spec: &api::ServiceSpec) -> Result<bool, Misfit> {
    let types = [
        ("", false),
        ("ClusterIP", false),
        ("NodePort", false),
        ("LoadBalancer", false),
        ("ExternalName", true),
    ];
    let allowed = "ClusterIP, NodePort, LoadBalancer, ExternalName";
    field::one_of(spec.type_.as_deref().unwrap_or_default(), &types, allowed).at(|| "spec.type")
}

fn local_only(spec: &api::ServiceSpec) -> Result<bool, Misfit> {
    let policies = [("", false), ("Cluster", false), ("Local", true)];
    let policy = spec.internal_traffic_policy.as_deref().unwrap_or_default();
    field::one_of(policy, &policies, "Cluster, Local").at(|| "spec.internalTrafficPolicy")
}

fn ports(ports: &[api::ServicePort]) -> Result<Vec<ServicePort>, Misfit> {
    let mut taken: Vec<ServicePort> = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let path = |field| move || format!("spec.ports[{index}].{field}");
        let number = field::port(port.port).at(path("port"))?;
        let protocol = field::protocol(port.protocol.as_deref()).at(path("protocol"))?;
        let target = target_port(port.target_port.as_ref(), number).at(path("targetPort"))?;
        let Some(protocol) = protocol else { continue };
        let name = port.name.clone().unwrap_or_default();
        if taken
            .iter()
            .any(|it| it.port == number && it.protocol == protocol)
        {
            let twice = Fault::PortTwice {
                port: number,
                protocol,
            };
            return Err(twice).at(path("port"));
        }
        if !name.is_empty() && taken.iter().any(|it| it.name == name) {
            return Err(Fault::NameTwice(name)).at(path("name"));
        }
        let node_port = port.node_port.filter(|&number| number != 0);
        taken.push(ServicePort {
            name,
            protocol,
            port: number,
            target,
            node_port: node_port.map(field::port).transpose().at(path("nodePort"))?,
            app_protocol: port.app_protocol.clone().filter(|name| !name.is_empty()),
        });
    }
    Ok(taken)
}

/// The Service's own number where the target is not given (0 counts as such, as in Kubernetes).
fn target_port(target: Option<&IntOrString>, default: u16) -> Result<TargetPort, Fault> {
    match target {
        None | Some(IntOrString::Int(0)) => Ok(TargetPort::Number(default)),
        Some(IntOrString::Int(number)) => Ok(TargetPort::Number(field::port(*number)?)),
        Some(IntOrString::String(name)) if name.is_empty() => Ok(TargetPort::Number(default)),
        Some(IntOrString::String(name)) if name.contains(|c: char| c.is_ascii_alphabetic()) => {
            Ok(TargetPort::Name(name.clone()))
        }
        Some(IntOrString::String(name)) => Err(Fault::NotAPortName(name.clone())),
    }
}

fn affinity_seconds(spec: &api::ServiceSpec) -> Result<u32, Misfit> {
    let affinities = [("", false), ("None", false), ("ClientIP", true)];
    let affinity = spec.session_affinity.as_deref().unwrap_or_default();
    if !field::one_of(affinity, &affinities, "None, ClientIP").at(|| "spec.sessionAffinity")? {
        return Ok(0);
    }
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let Some(seconds) = seconds else {
        return Ok(DEFAULT_AFFINITY_SECONDS);
    };
    u32::try_from(seconds)
        .ok()
        .filter(|_| (1..=MAX_AFFINITY_SECONDS).contains(&seconds))
        .ok_or(Fault::OutOfRange {
            value: seconds.into(),
            min: 1,
            max: MAX_AFFINITY_SECONDS.into(),
        })
        .at(|| "spec.sessionAffinityConfig.clientIP.timeoutSeconds")
}

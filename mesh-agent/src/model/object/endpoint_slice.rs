//! `EndpointSlices`: who serves a Service.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1 as api;
use mesh_common::addr::{Addr, Protocol};
use mesh_common::names::SERVICE_NAME_LABEL;

use super::invalid::{At, Fault, Misfit};
use super::{Invalid, ObjectRef, field};
use crate::model::desired::{Family, ObjectName};

#[cfg(test)]
mod tests;

/// What the mesh uses of an EndpointSlice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointSlice {
    /// Its name.
    pub name: ObjectName,
    /// The Service it belongs to.
    pub service: Option<ObjectName>,
    /// The TCP and UDP ports all its endpoints have.
    pub ports: Vec<SlicePort>,
    /// Its endpoints; none where they are known by domain name only (`addressType: FQDN`).
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of all endpoints of a slice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlicePort {
    /// Its name, which is that of the Service's port; empty where it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// An endpoint at one of its addresses: where it has several, each is as good as the other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SliceEndpoint {
    /// The address.
    pub addr: Addr,
    /// Its state.
    pub conditions: Conditions,
    /// The node it is on.
    pub node: Option<Arc<str>>,
    /// The pod it is.
    pub target: Option<TargetPod>,
    /// Who should use it; mostly nobody cares.
    pub hints: Option<Arc<Hints>>,
}

/// The clients an endpoint is meant for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hints {
    /// Those of these zones; empty where nobody cares.
    pub zones: Vec<String>,
    /// Those on these nodes; empty where nobody cares.
    pub nodes: Vec<String>,
}

/// The state of an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Conditions {
    /// Whether it is ready for traffic.
    pub ready: bool,
    /// Whether it can serve, whether or not it is about to end.
    pub serving: bool,
    /// Whether it is about to end.
    pub terminating: bool,
}

/// The pod an endpoint refers to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetPod {
    /// Its name.
    pub name: ObjectName,
    /// Its uid, where it is given.
    pub uid: Option<Arc<str>>,
}

impl EndpointSlice {
    /// Which object this is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::EndpointSlice(self.name.clone())
    }
}

impl TryFrom<api::EndpointSlice> for EndpointSlice {
    type Error = Invalid;

    fn try_from(slice: api::EndpointSlice) -> Result<Self, Invalid> {
        let object = ObjectRef::EndpointSlice(field::object_name(&slice.metadata));
        convert(slice).map_err(|misfit| misfit.of(&object))
    }
}

fn convert(slice: api::EndpointSlice) -> Result<EndpointSlice, Misfit> {
    let name = field::object_name(&slice.metadata);
    field::check_object_name(&name)?;
    let mut labels = slice.metadata.labels.unwrap_or_default();
    let service = labels.remove(SERVICE_NAME_LABEL).filter(|it| !it.is_empty());
    let service = service.map(|service| ObjectName::new(name.namespace.clone(), service));

    let types = [
        ("IPv4", Some(Family::V4)),
        ("IPv6", Some(Family::V6)),
        ("FQDN", None),
    ];
    let family = field::one_of(&slice.address_type, &types, "IPv4, IPv6, FQDN").at(|| "addressType")?;
    let endpoints = match family {
        Some(family) => endpoints(slice.endpoints.unwrap_or_default(), family, &name.namespace)?,
        None => Vec::new(),
    };
    Ok(EndpointSlice {
        name,
        service,
        ports: ports(slice.ports.unwrap_or_default())?,
        endpoints,
    })
}

/// A port without a number (or of number 0, which kube-proxy reads the same) stands for all ports, which no
/// Service can map to. One without a name has the empty one, as the API server would write it.
fn ports(ports: Vec<api::EndpointPort>) -> Result<Vec<SlicePort>, Misfit> {
    let mut taken = Vec::with_capacity(ports.len());
    for (index, port) in ports.into_iter().enumerate() {
        let protocol = field::protocol(port.protocol.as_deref()).at(|| format!("ports[{index}].protocol"))?;
        let number = port
            .port
            .filter(|&number| number != 0)
            .map(field::port)
            .transpose();
        let number = number.at(|| format!("ports[{index}].port"))?;
        if let (Some(protocol), Some(port_number)) = (protocol, number) {
            taken.push(SlicePort {
                name: port.name.unwrap_or_default(),
                protocol,
                port: port_number,
            });
        }
    }
    Ok(taken)
}

fn endpoints(
    endpoints: Vec<api::Endpoint>,
    family: Family,
    namespace: &Arc<str>,
) -> Result<Vec<SliceEndpoint>, Misfit> {
    let mut converted = Vec::with_capacity(endpoints.len());
    for (index, endpoint) in endpoints.into_iter().enumerate() {
        convert_endpoint(endpoint, index, family, namespace, &mut converted)?;
    }
    Ok(converted)
}

fn convert_endpoint(
    endpoint: api::Endpoint,
    index: usize,
    family: Family,
    namespace: &Arc<str>,
    converted: &mut Vec<SliceEndpoint>,
) -> Result<(), Misfit> {
    if endpoint.addresses.is_empty() {
        return Err(Fault::Missing).at(|| format!("endpoints[{index}].addresses"));
    }
    let conditions = conditions(&endpoint.conditions.unwrap_or_default());
    let node = endpoint.node_name.filter(|node| !node.is_empty()).map(Arc::from);
    let target = endpoint
        .target_ref
        .and_then(|target| target_pod(target, namespace));
    let hints = endpoint.hints.and_then(hints).map(Arc::new);
    for (at, address) in endpoint.addresses.iter().enumerate() {
        let addr = field::address_of(address, family).at(|| format!("endpoints[{index}].addresses[{at}]"))?;
        converted.push(SliceEndpoint {
            addr,
            conditions,
            node: node.clone(),
            target: target.clone(),
            hints: hints.clone(),
        });
    }
    Ok(())
}

fn hints(hints: api::EndpointHints) -> Option<Hints> {
    let (zones, nodes) = (
        hints.for_zones.unwrap_or_default(),
        hints.for_nodes.unwrap_or_default(),
    );
    let any = !zones.is_empty() || !nodes.is_empty();
    any.then(|| Hints {
        zones: zones.into_iter().map(|zone| zone.name).collect(),
        nodes: nodes.into_iter().map(|node| node.name).collect(),
    })
}

/// Absent is good news: an endpoint whose state is not known is used.
fn conditions(conditions: &api::EndpointConditions) -> Conditions {
    Conditions {
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
    }
}

fn target_pod(target: ObjectReference, namespace: &Arc<str>) -> Option<TargetPod> {
    let is_pod = target.kind.as_deref() == Some("Pod");
    let name = target.name.filter(|name| is_pod && !name.is_empty())?;
    let other = target
        .namespace
        .filter(|other| !other.is_empty() && **other != **namespace);
    Some(TargetPod {
        name: ObjectName::new(other.map_or_else(|| namespace.clone(), Arc::from), name),
        uid: target.uid.filter(|uid| !uid.is_empty()).map(Arc::from),
    })
}

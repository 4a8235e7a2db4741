//! Pods: addresses, node, readiness and what selectors look at.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;
use mesh_common::addr::{Addr, Protocol};
use mesh_common::names::{CONFIG_HASH_ANNOTATION, NETNS_ANNOTATION};
use mesh_common::policy::Transport;

use super::invalid::{At, Misfit};
use super::owner::WorkloadName;
use super::{Invalid, Labels, ObjectRef, Setting, Unenrolled, field, setting};
use crate::model::desired::PodKey;

#[cfg(test)]
mod tests;

/// What the mesh uses of a Pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// Its name and uid; the uid is a stand-in made of the addresses where the manifest has none, so that
    /// a pod with another address is another pod.
    pub key: PodKey,
    /// Whether the uid is Kubernetes' own.
    pub has_uid: bool,
    /// Its labels.
    pub labels: Labels,
    /// Whether it is in the mesh, over what its namespace says.
    pub dataplane: Setting<bool>,
    /// The same in Istio's words, for agents that honour those.
    pub ambient: Option<bool>,
    /// Why it is not in the mesh, whatever it and its namespace say.
    pub unenrolled: Option<Unenrolled>,
    /// Whether its sockets may be accelerated, over what its namespace says.
    pub acceleration: Setting<bool>,
    /// The node it is bound to.
    pub node: Option<Arc<str>>,
    /// Whether it uses the network of its node, and so has no address of its own.
    pub host_network: bool,
    /// How far its life is.
    pub life: Life,
    /// Whether it can serve.
    pub ready: bool,
    /// Its addresses, first the primary one.
    pub addresses: Vec<Addr>,
    /// The ports its containers name; the first of a name and protocol counts.
    pub ports: Vec<NamedPort>,
    /// Path or name of its network namespace, from a manifest.
    pub netns: Option<String>,
    /// What the kubelet knows a static pod by, whose uid is that of its mirror.
    pub config_hash: Option<Box<str>>,
    /// What made it.
    pub workload: WorkloadName,
    /// When it was created, in seconds since 1970.
    pub created: Option<i64>,
}

/// How far the life of a pod is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Life {
    /// It runs, or will.
    Live,
    /// It was told to end.
    Ending,
    /// All its containers ended for good.
    Ended,
}

/// A container's port with a name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub transport: Transport,
    /// The number.
    pub port: u16,
}

impl Pod {
    /// Which object this is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::Pod(self.key.object.clone())
    }

    /// Whether it has a network, and so addresses, of its own now.
    #[must_use]
    pub const fn is_workload(&self) -> bool {
        !self.host_network && !self.has_ended()
    }

    /// Whether it ended for good.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended)
    }

    /// Whether it was told to end.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        matches!(self.life, Life::Ending)
    }

    /// The number of a port that a container names.
    #[must_use]
    pub fn named_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let found = self
            .ports
            .iter()
            .find(|it| it.name == name && it.transport as u8 == protocol as u8)?;
        Some(found.port)
    }

    pub(super) fn doubtful(&self) -> Vec<Invalid> {
        setting::doubts(&self.dataplane, &self.acceleration, &self.reference())
    }
}

impl TryFrom<api::Pod> for Pod {
    type Error = Invalid;

    fn try_from(pod: api::Pod) -> Result<Self, Invalid> {
        let object = ObjectRef::Pod(field::object_name(&pod.metadata));
        convert(pod).map_err(|misfit| misfit.of(&object))
    }
}

fn convert(pod: api::Pod) -> Result<Pod, Misfit> {
    let (mut metadata, spec) = (pod.metadata, pod.spec.unwrap_or_default());
    let status = pod.status.unwrap_or_default();
    let object = field::object_name(&metadata);
    field::check_object_name(&object)?;

    let addresses = addresses(&status)?;
    let phase = field::one_of(status.phase.as_deref().unwrap_or_default(), &PHASES, PHASE_NAMES)
        .at(|| "status.phase")?;
    let labels = metadata.labels.take().unwrap_or_default();
    let workload = WorkloadName::of(&metadata, &labels);
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    let uid = metadata.uid.filter(|uid| !uid.is_empty());
    Ok(Pod {
        has_uid: uid.is_some(),
        key: PodKey {
            object,
            uid: uid.unwrap_or_else(|| stand_in(&addresses)).into(),
        },
        dataplane: setting::dataplane(&labels),
        ambient: setting::ambient(&labels),
        unenrolled: Unenrolled::of(&spec, Some(&annotations)),
        acceleration: setting::acceleration(Some(&annotations)),
        labels: labels.into(),
        workload,
        host_network: spec.host_network.unwrap_or_default(),
        life: match phase {
            Phase::Finished => Life::Ended,
            _ if metadata.deletion_timestamp.is_some() => Life::Ending,
            _ => Life::Live,
        },
        ready: ready(&status, phase),
        addresses,
        ports: named_ports(&spec)?,
        netns: annotations.remove(NETNS_ANNOTATION),
        config_hash: annotations.remove(CONFIG_HASH_ANNOTATION).map(Into::into),
        node: spec.node_name.filter(|node| !node.is_empty()).map(Arc::from),
        created: metadata.creation_timestamp.map(|time| time.0.as_second()),
    })
}

/// How far a pod is, as far as it matters here.
#[derive(Clone, Copy)]
enum Phase {
    /// Running, or a manifest that says nothing.
    Running,
    /// Not yet, or the node was lost.
    Uncertain,
    /// For good.
    Finished,
}

const PHASES: [(&str, Phase); 6] = [
    ("", Phase::Running),
    ("Running", Phase::Running),
    ("Pending", Phase::Uncertain),
    ("Unknown", Phase::Uncertain),
    ("Succeeded", Phase::Finished),
    ("Failed", Phase::Finished),
];

const PHASE_NAMES: &str = "Pending, Running, Succeeded, Failed, Unknown";

fn ready(status: &api::PodStatus, phase: Phase) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    match conditions.find(|condition| condition.type_ == "Ready") {
        Some(condition) => condition.status == "True",
        None => matches!(phase, Phase::Running),
    }
}

/// `podIPs`, else `podIP`.
fn addresses(status: &api::PodStatus) -> Result<Vec<Addr>, Misfit> {
    let mut addresses = Vec::new();
    for (index, ip) in status.pod_ips.iter().flatten().enumerate() {
        let addr = field::address(&ip.ip).at(|| format!("status.podIPs[{index}].ip"))?;
        if !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }
    if let (true, Some(ip)) = (addresses.is_empty(), non_empty(status.pod_ip.as_deref())) {
        addresses.push(field::address(ip).at(|| "status.podIP")?);
    }
    addresses.shrink_to_fit();
    Ok(addresses)
}

/// Stands for the uid of a pod that has none.
fn stand_in(addresses: &[Addr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    format!("manifest:{}", addresses.join(","))
}

/// The named ports of the containers and of those init containers that keep running beside them.
fn named_ports(spec: &api::PodSpec) -> Result<Vec<NamedPort>, Misfit> {
    let containers = spec.containers.iter().enumerate();
    let containers = containers.map(|(at, it)| ("containers", at, it));
    let init_containers = spec.init_containers.iter().flatten().enumerate();
    let sidecars = init_containers
        .map(|(at, it)| ("initContainers", at, it))
        .filter(|(_, _, it)| it.restart_policy.as_deref() == Some("Always"));

    let mut ports = Vec::new();
    for (list, at, container) in containers.chain(sidecars) {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let path = |field| format!("spec.{list}[{at}].ports[{index}].{field}");
            let number = field::port(port.container_port).at(|| path("containerPort"))?;
            let transport = field::transport(port.protocol.as_deref()).at(|| path("protocol"))?;
            if let Some(name) = non_empty(port.name.as_deref()) {
                ports.push(NamedPort {
                    name: name.to_owned(),
                    transport,
                    port: number,
                });
            }
        }
    }
    ports.shrink_to_fit();
    Ok(ports)
}

fn non_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

//! The labels of the metrics. Equal labels are one series, so nothing is in them that is not written.

use std::{borrow::Cow, sync::Arc};

use super::series::{Labels, Pair};
use crate::{
    model::desired::ObjectName,
    telemetry::names::{Present, Workload},
};

/// What Istio writes for a label whose value is not known.
const UNKNOWN: &str = "unknown";

/// Labels of the TCP metrics (Istio standard metrics).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct TcpLabels {
    /// `source` or `destination`.
    pub(super) reporter: &'static str,
    pub(super) source: Option<Arc<Workload>>,
    pub(super) destination: Option<Arc<Workload>>,
    pub(super) service: Option<Arc<ObjectName>>,
}

impl TcpLabels {
    pub(super) fn are_there(&self, present: &Present<'_>) -> bool {
        present.has_workload(self.source.as_deref())
            && present.has_workload(self.destination.as_deref())
            && present.has_service(self.service.as_deref())
    }
}

impl Labels for TcpLabels {
    fn pairs(&self) -> Vec<Pair<'_>> {
        let (source, destination) = (
            Values::of(self.source.as_deref()),
            Values::of(self.destination.as_deref()),
        );
        let (service, service_namespace) = names(self.service.as_deref());
        vec![
            ("reporter", self.reporter.into()),
            ("source_workload", source.name.into()),
            ("source_workload_namespace", source.namespace.into()),
            ("source_principal", UNKNOWN.into()),
            ("source_app", source.app.into()),
            ("source_version", source.version.into()),
            ("source_canonical_service", source.canonical_service.into()),
            ("source_canonical_revision", source.canonical_revision.into()),
            ("destination_workload", destination.name.into()),
            ("destination_workload_namespace", destination.namespace.into()),
            ("destination_principal", UNKNOWN.into()),
            ("destination_app", destination.app.into()),
            ("destination_version", destination.version.into()),
            (
                "destination_canonical_service",
                destination.canonical_service.into(),
            ),
            (
                "destination_canonical_revision",
                destination.canonical_revision.into(),
            ),
            (
                "destination_service",
                self.service.as_deref().map_or(UNKNOWN.into(), host),
            ),
            ("destination_service_name", service.into()),
            ("destination_service_namespace", service_namespace.into()),
            ("request_protocol", "tcp".into()),
            ("response_flags", "-".into()),
            ("connection_security_policy", "none".into()),
        ]
    }
}

/// Labels of what passes a pod's interface.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct PacketLabels {
    pub(super) pod: Option<ObjectName>,
    pub(super) protocol: &'static str,
    pub(super) direction: &'static str,
}

impl PacketLabels {
    pub(super) fn are_there(&self, present: &Present<'_>) -> bool {
        present.has_pod(self.pod.as_ref())
    }
}

impl Labels for PacketLabels {
    fn pairs(&self) -> Vec<Pair<'_>> {
        let (pod, namespace) = names(self.pod.as_ref());
        vec![
            ("namespace", namespace.into()),
            ("pod", pod.into()),
            ("protocol", self.protocol.into()),
            ("direction", self.direction.into()),
        ]
    }
}

/// Labels of a pod's datagrams.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct UdpLabels {
    pub(super) pod: Option<ObjectName>,
    pub(super) peer: Option<ObjectName>,
    pub(super) service: Option<Arc<ObjectName>>,
    pub(super) direction: &'static str,
}

impl UdpLabels {
    pub(super) fn are_there(&self, present: &Present<'_>) -> bool {
        present.has_pod(self.pod.as_ref())
            && present.has_pod(self.peer.as_ref())
            && present.has_service(self.service.as_deref())
    }
}

impl Labels for UdpLabels {
    fn pairs(&self) -> Vec<Pair<'_>> {
        let (pod, namespace) = names(self.pod.as_ref());
        let (peer_pod, peer_namespace) = names(self.peer.as_ref());
        let (service, service_namespace) = names(self.service.as_deref());
        vec![
            ("namespace", namespace.into()),
            ("pod", pod.into()),
            ("peer_namespace", peer_namespace.into()),
            ("peer_pod", peer_pod.into()),
            ("service", service.into()),
            ("service_namespace", service_namespace.into()),
            ("direction", self.direction.into()),
        ]
    }
}

/// The name inside the cluster, as Istio's `destination_service` has it.
fn host(service: &ObjectName) -> Cow<'static, str> {
    format!("{}.{}.svc.cluster.local", service.name, service.namespace).into()
}

/// Name and namespace.
fn names(object: Option<&ObjectName>) -> (&str, &str) {
    object.map_or((UNKNOWN, UNKNOWN), |object| (&object.name, &object.namespace))
}

struct Values<'a> {
    namespace: &'a str,
    name: &'a str,
    app: &'a str,
    version: &'a str,
    canonical_service: &'a str,
    canonical_revision: &'a str,
}

impl<'a> Values<'a> {
    fn of(workload: Option<&'a Workload>) -> Self {
        let value = |field: fn(&Workload) -> &String| workload.map_or(UNKNOWN, |workload| field(workload));
        Self {
            namespace: value(|workload| &workload.namespace),
            name: value(|workload| &workload.name),
            app: value(|workload| &workload.app),
            version: value(|workload| &workload.version),
            canonical_service: value(|workload| &workload.canonical_service),
            canonical_revision: value(|workload| &workload.canonical_revision),
        }
    }
}

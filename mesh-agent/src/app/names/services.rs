//! What `meshctl` says of services besides what the kernel holds.

use std::{collections::BTreeMap, net::SocketAddr};

use mesh_common::addr::socket_addr;
use serde::{Deserialize, Serialize};

use super::LabelSets;
use crate::{
    app::engine::Engine,
    model::{
        cluster::{Dialled, DialledPort},
        desired::{ObjectName, PortKey, Traffic},
        object::service::FrontendType,
    },
};

/// A service port.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Port number.
    pub port: u16,
    /// Name of the port; empty where it has none.
    pub port_name: String,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// The protocol that is spoken over it; empty where the Service says nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_protocol: String,
    /// Whether only endpoints of this node serve (`internalTrafficPolicy: Local`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub local_only: bool,
    /// Types of the frontends that are not at cluster IPs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<SocketAddr, String>,
    /// Its labels, as an index of [`super::Names::label_sets`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<u32>,
}

/// Frontends of a service port that are left to the host, for one reason.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UntouchedName {
    /// The port.
    #[serde(flatten)]
    pub service: ServiceName,
    /// What clients dial.
    pub frontends: Vec<SocketAddr>,
    /// The reason.
    pub why: String,
}

/// The service ports that have an id.
pub(super) fn services(engine: &Engine, sets: &mut LabelSets) -> BTreeMap<u32, ServiceName> {
    let services = engine.ledger().services().map(|(id, name, key, port_name)| {
        let mut service = ServiceName {
            labels: sets.add(engine.cluster().service_labels(name)),
            port_name: port_name.to_owned(),
            ..named(name, key)
        };
        let mut ports = engine.cluster().dialled(name);
        let is_meant = |port: &DialledPort<'_>| port.frontends.iter().any(|it| port.key(it) == key);
        if let Some(port) = ports.find(is_meant) {
            service.describe(&port, key.traffic, |dialled| port.key(dialled) == key);
        }
        (id, service)
    });
    services.collect()
}

/// What is left to the host.
pub(super) fn untouched(engine: &Engine, sets: &mut LabelSets) -> Vec<UntouchedName> {
    let cluster = engine.cluster();
    let mut untouched: Vec<UntouchedName> = Vec::new();
    for name in cluster.services() {
        for port in cluster.dialled(name) {
            let mut reasons: BTreeMap<(PortKey, String), Vec<Dialled>> = BTreeMap::new();
            for dialled in &port.frontends {
                if let Some(why) = dialled.untouched {
                    let of_reason = reasons.entry((port.key(dialled), why.to_string())).or_default();
                    of_reason.push(*dialled);
                }
            }
            for ((key, why), dialled) in reasons {
                let mut service = ServiceName {
                    labels: sets.add(cluster.service_labels(name)),
                    port_name: port.port.name.clone(),
                    ..named(name, key)
                };
                service.describe(&port, key.traffic, |it| dialled.contains(it));
                untouched.push(UntouchedName {
                    service,
                    frontends: dialled.iter().map(socket).collect(),
                    why,
                });
            }
        }
    }
    untouched
}

fn named(name: &ObjectName, key: PortKey) -> ServiceName {
    ServiceName {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        port: key.port,
        protocol: key.protocol.name().to_owned(),
        ..ServiceName::default()
    }
}

impl ServiceName {
    /// Takes over what the Service says of a port, and of those of its frontends that are meant.
    fn describe(&mut self, port: &DialledPort<'_>, traffic: Traffic, is_meant: impl Fn(&Dialled) -> bool) {
        self.app_protocol = port.port.app_protocol.clone().unwrap_or_default();
        self.local_only = port.service.local_only && traffic == Traffic::Internal;
        let outside = port
            .frontends
            .iter()
            .filter(|it| it.kind != FrontendType::ClusterIp && is_meant(it));
        self.types = outside
            .map(|it| (socket(it), it.kind.name().to_owned()))
            .collect();
    }

    /// The type of a frontend.
    #[must_use]
    pub fn type_of(&self, frontend: &SocketAddr) -> &str {
        let known = self.types.get(frontend).map(String::as_str);
        known.unwrap_or(FrontendType::ClusterIp.name())
    }
}

fn socket(dialled: &Dialled) -> SocketAddr {
    socket_addr(dialled.frontend.addr, dialled.frontend.port)
}

//! `service`: what clients dial, and where it leads.

mod detail;

use std::net::SocketAddr;

use mesh_common::{
    addr::{Protocol, socket_addr},
    names::load_balancing,
    service::{Algorithm, ServiceInfo},
};
use serde::Serialize;

use crate::{
    app::names::{Labels, ServiceName, UntouchedName},
    cli::{
        args::Format,
        failure::Failure,
        held::{Held, Named},
        node::Node,
        output::{self, Item, joined, number, or_dash, table, text},
        scope::Scope,
    },
};

/// One port of a service in one family: what has an id in the kernel, or is left to the host.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceRow {
    #[serde(flatten)]
    service: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "String::is_empty")]
    port_name: String,
    protocol: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    app_protocol: String,
    frontends: Vec<String>,
    /// Type of each frontend, in their order; none where nobody noted them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<String>,
    /// Which endpoints serve, where that is noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'static str>,
    #[serde(flatten)]
    fate: Fate,
}

/// What becomes of who dials it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Fate {
    /// The kernel chooses an endpoint.
    Balanced {
        algorithm: &'static str,
        /// 0 is no affinity.
        affinity_seconds: u32,
        endpoints: usize,
        region: RegionRow,
    },
    /// It is left to the host.
    Untouched {
        /// The reason.
        untouched: String,
    },
}

/// The slots of a service in `LB_TABLE`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
struct RegionRow {
    offset: u32,
    len: u32,
}

impl Item for ServiceRow {
    const KIND: &'static str = "Service";
    const NOUN: &'static str = "service";
    const COLUMNS: &'static [table::Column] = &[
        text("NAMESPACE"),
        text("NAME"),
        number("PORT"),
        text("PROTOCOL"),
        text("FRONTENDS"),
        text("ALGORITHM"),
        text("AFFINITY"),
        number("ENDPOINTS"),
    ];
    const WIDE: &'static [table::Column] = &[
        number("ID"),
        text("PORT-NAME"),
        number("OFFSET"),
        number("SLOTS"),
        text("TYPES"),
    ];

    fn name(&self) -> String {
        self.service.to_string()
    }

    fn cells(&self) -> Vec<String> {
        let fate = match &self.fate {
            Fate::Balanced {
                algorithm,
                affinity_seconds,
                endpoints,
                ..
            } => [
                (*algorithm).to_owned(),
                affinity(*affinity_seconds),
                endpoints.to_string(),
            ],
            Fate::Untouched { untouched } => [format!("untouched: {untouched}"), dash(), dash()],
        };
        let mut cells = vec![
            self.service.namespace_cell(),
            self.service.name_cell(),
            or_dash(self.port),
            self.protocol.clone(),
            joined(&self.frontends),
        ];
        cells.extend(fate);
        cells
    }

    fn wide_cells(&self) -> Vec<String> {
        let slots = match &self.fate {
            Fate::Balanced { region, .. } => [
                self.service.id.to_string(),
                region.offset.to_string(),
                region.len.to_string(),
            ],
            Fate::Untouched { .. } => [dash(), dash(), dash()],
        };
        let [id, offset, len] = slots;
        let port_name = or_dash(Some(&self.port_name).filter(|name| !name.is_empty()));
        vec![id, port_name, offset, len, joined(&self.types)]
    }
}

/// `service list`.
pub fn list(node: &Node, scope: &Scope, format: Format) -> Result<String, Failure> {
    let held = node.held()?;
    scope.check(&held.names)?;
    output::list(&rows(&held, scope), format)
}

/// `service show`.
pub fn show(node: &Node, scope: &Scope, service: &str, format: Format) -> Result<String, Failure> {
    let reference = scope.reference("service", service)?;
    let mut found = detail::find(&node.held()?, &reference)?;
    // Without an agent, all that the kernel holds is shown and this is not.
    if let Some(unused) = found
        .object()
        .and_then(|(ns, name)| node.agent.unused(ns, name).ok())
    {
        found.explain(&unused);
    }
    output::one(&found, format)
}

fn rows(held: &Held, scope: &Scope) -> Vec<ServiceRow> {
    let balanced = held.services.iter().filter_map(|(&id, info)| {
        let row = balanced(held, id, *info)?;
        Some((row, held.service_labels(id)))
    });
    let left = held.names.untouched.iter();
    let left = left.map(|it| (untouched(it), held.names.labels(it.service.labels)));
    let wanted = |(row, labels): &(ServiceRow, Option<Labels<'_>>)| {
        scope.has(&row.service) && scope.selects(labels.as_ref())
    };
    let rows = balanced.chain(left).filter(wanted);
    let mut rows: Vec<ServiceRow> = rows.map(|(row, _)| row).collect();
    rows.sort_by(|a, b| {
        let key = |row: &ServiceRow| (row.service.namespace.clone(), row.service.name.clone());
        let key = |row| (key(row), row.port, row.protocol.clone(), row.service.id);
        key(a).cmp(&key(b))
    });
    rows
}

fn balanced(held: &Held, id: u32, info: ServiceInfo) -> Option<ServiceRow> {
    let frontends = held.frontends.get(&id).map(Vec::as_slice).unwrap_or_default();
    let known = held.service_port(id);
    let protocol = frontends
        .first()
        .and_then(|frontend| Protocol::from_number(frontend.protocol.into()));
    let protocol = protocol.map(|protocol| protocol.name().to_owned());
    let frontends = frontends.iter().map(|front| socket_addr(front.addr, front.port));
    let frontends: Vec<_> = frontends.collect();
    let fate = Fate::Balanced {
        algorithm: algorithm(info.region.algorithm()),
        affinity_seconds: info.affinity_seconds,
        endpoints: held.slots.get(&id).map_or(0, std::collections::BTreeMap::len),
        region: RegionRow {
            offset: info.region.offset(),
            len: info.region.len(),
        },
    };
    let row = described(held.service(id)?, known, &frontends, fate);
    Some(ServiceRow {
        protocol: protocol.unwrap_or(row.protocol),
        policy: known.map(|known| if known.local_only { "Local" } else { "Cluster" }),
        ..row
    })
}

fn untouched(name: &UntouchedName) -> ServiceRow {
    let service = Named {
        namespace: Some(name.service.namespace.clone()),
        name: Some(name.service.name.clone()),
        id: 0,
    };
    let fate = Fate::Untouched {
        untouched: name.why.clone(),
    };
    described(service, Some(&name.service), &name.frontends, fate)
}

/// A row of what the agent noted of a service port.
fn described(
    service: Named,
    known: Option<&ServiceName>,
    frontends: &[SocketAddr],
    fate: Fate,
) -> ServiceRow {
    let types = |known: &ServiceName| frontends.iter().map(|it| known.type_of(it).to_owned()).collect();
    ServiceRow {
        service,
        port: known.map(|known| known.port),
        port_name: known.map(|known| known.port_name.clone()).unwrap_or_default(),
        protocol: known.map(|known| known.protocol.clone()).unwrap_or_default(),
        app_protocol: known.map(|known| known.app_protocol.clone()).unwrap_or_default(),
        types: known.map(types).unwrap_or_default(),
        frontends: frontends.iter().map(ToString::to_string).collect(),
        policy: None,
        fate,
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn affinity(seconds: u32) -> String {
    if seconds == 0 {
        "none".to_owned()
    } else {
        format!("{seconds}s")
    }
}

/// As the annotation on the service says it.
pub fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Random => load_balancing::RANDOM,
        Algorithm::Maglev => load_balancing::MAGLEV,
    }
}

#[cfg(test)]
mod tests;

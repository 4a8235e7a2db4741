//! `service`: what clients dial, and where it leads.

mod detail;

use mesh_common::{
    addr::{Protocol, socket_addr},
    names::load_balancing,
    service::{Algorithm, ServiceInfo},
};
use serde::Serialize;

use crate::cli::{
    args::Format,
    failure::Failure,
    held::{Held, Named},
    node::Node,
    output::{self, Item, joined, number, or_dash, table, text},
    scope::Scope,
};

/// One port of a service in one family: what has an id in the kernel.
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
    frontends: Vec<String>,
    algorithm: &'static str,
    /// 0 is no affinity.
    affinity_seconds: u32,
    endpoints: usize,
    region: RegionRow,
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
    const WIDE: &'static [table::Column] =
        &[number("ID"), text("PORT-NAME"), number("OFFSET"), number("SLOTS")];

    fn name(&self) -> String {
        self.service.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.service.namespace_cell(),
            self.service.name_cell(),
            or_dash(self.port),
            self.protocol.clone(),
            joined(&self.frontends),
            self.algorithm.to_owned(),
            affinity(self.affinity_seconds),
            self.endpoints.to_string(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            self.service.id.to_string(),
            or_dash(Some(&self.port_name).filter(|name| !name.is_empty())),
            self.region.offset.to_string(),
            self.region.len.to_string(),
        ]
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
    output::one(&detail::find(&node.held()?, &reference)?, format)
}

fn rows(held: &Held, scope: &Scope) -> Vec<ServiceRow> {
    let rows = held
        .services
        .iter()
        .filter_map(|(&id, info)| row(held, id, *info));
    let wanted = |row: &ServiceRow| {
        let labels = held.service_labels(row.service.id);
        scope.has(&row.service) && scope.selects(labels.as_ref())
    };
    let mut rows: Vec<ServiceRow> = rows.filter(wanted).collect();
    rows.sort_by(|a, b| {
        let key = |row: &ServiceRow| (row.service.namespace.clone(), row.service.name.clone());
        let key = |row| (key(row), row.port, row.protocol.clone(), row.service.id);
        key(a).cmp(&key(b))
    });
    rows
}

fn row(held: &Held, id: u32, info: ServiceInfo) -> Option<ServiceRow> {
    let frontends = held.frontends.get(&id).map(Vec::as_slice).unwrap_or_default();
    let known = held.service_port(id);
    let protocol = frontends
        .first()
        .and_then(|frontend| Protocol::from_number(frontend.protocol.into()));
    let protocol = protocol.map(|protocol| protocol.name().to_owned());
    Some(ServiceRow {
        service: held.service(id)?,
        port: known.map(|known| known.port),
        port_name: known.map(|known| known.port_name.clone()).unwrap_or_default(),
        protocol: protocol
            .or_else(|| known.map(|known| known.protocol.clone()))
            .unwrap_or_default(),
        frontends: frontends
            .iter()
            .map(|front| socket_addr(front.addr, front.port).to_string())
            .collect(),
        algorithm: algorithm(info.region.algorithm()),
        affinity_seconds: info.affinity_seconds,
        endpoints: held.slots.get(&id).map_or(0, std::collections::BTreeMap::len),
        region: RegionRow {
            offset: info.region.offset(),
            len: info.region.len(),
        },
    })
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

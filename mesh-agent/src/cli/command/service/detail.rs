//! One service, with its endpoints.

use std::net::IpAddr;

use serde::Serialize;

use super::{Fate, ServiceRow, affinity, rows};
use crate::{
    app::admin::UnusedEndpoint,
    cli::{
        failure::Failure,
        held::{Held, Named},
        output::{self, Detail, Item, joined, number, or_dash, table, text, unit},
        scope::{Reference, Scope},
    },
};

/// A service with all its ports.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ServiceDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ports: Vec<PortDetail>,
}

/// A port with its endpoints.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct PortDetail {
    #[serde(flatten)]
    row: ServiceRow,
    backends: Vec<EndpointRow>,
    /// Endpoints that are not used now, where an agent tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unused: Vec<UnusedRow>,
}

/// An endpoint where a port does not lead now.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct UnusedRow {
    address: IpAddr,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    why: String,
}

impl Item for UnusedRow {
    const KIND: &'static str = "UnusedEndpoint";
    const NOUN: &'static str = "endpoint";
    const COLUMNS: &'static [table::Column] = &[text("ADDRESS"), number("PORT"), text("POD"), text("WHY")];

    fn name(&self) -> String {
        self.address.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.address.to_string(),
            self.port.to_string(),
            or_dash(self.pod.as_ref()),
            self.why.clone(),
        ]
    }
}

/// Where a port leads.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointRow {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Named>,
    slots: u32,
    share: String,
}

impl Item for EndpointRow {
    const KIND: &'static str = "Endpoint";
    const NOUN: &'static str = "endpoint";
    const COLUMNS: &'static [table::Column] = &[
        text("ADDRESS"),
        number("PORT"),
        text("POD"),
        number("BACKEND"),
        number("SLOTS"),
        number("SHARE"),
    ];

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(self.address.as_ref()),
            or_dash(self.port),
            or_dash(self.pod.as_ref()),
            self.id.to_string(),
            self.slots.to_string(),
            self.share.clone(),
        ]
    }
}

impl Detail for ServiceDetail {
    const KIND: &'static str = "Service";

    fn name(&self) -> Option<String> {
        self.ports
            .first()
            .map(|port| format!("service/{}", port.row.service))
    }

    fn text(&self) -> String {
        let mut shown = table::facts(&[
            ("Namespace", or_dash(self.namespace.as_ref())),
            ("Name", or_dash(self.name.as_ref())),
        ]);
        for port in &self.ports {
            shown += "\n";
            shown += &port.text();
        }
        shown
    }
}

impl ServiceDetail {
    /// Namespace and name, where they are known.
    pub fn object(&self) -> Option<(&str, &str)> {
        self.namespace.as_deref().zip(self.name.as_deref())
    }

    /// Adds the endpoints that are not used.
    pub fn explain(&mut self, unused: &[UnusedEndpoint]) {
        for port in &mut self.ports {
            let own = unused.iter().filter(|it| it.service == port.row.service.id);
            let rows = own.map(|it| UnusedRow {
                address: it.address.ip(),
                port: it.address.port(),
                pod: it.pod.clone(),
                why: it.why.clone(),
            });
            port.unused.extend(rows);
        }
    }
}

impl PortDetail {
    fn text(&self) -> String {
        let row = &self.row;
        let name = if row.port_name.is_empty() {
            String::new()
        } else {
            format!(" ({})", row.port_name)
        };
        let mut facts = vec![("Frontends", frontends(row))];
        facts.extend(Some(("AppProtocol", row.app_protocol.clone())).filter(|it| !it.1.is_empty()));
        facts.extend(row.policy.map(|policy| ("Policy", policy.to_owned())));
        match &row.fate {
            Fate::Balanced {
                algorithm,
                affinity_seconds,
                region,
                ..
            } => {
                facts.insert(0, ("Id", row.service.id.to_string()));
                facts.extend([
                    ("Algorithm", (*algorithm).to_owned()),
                    ("Affinity", affinity(*affinity_seconds)),
                    ("Slots", format!("{} from {}", region.len, region.offset)),
                    ("Endpoints", self.endpoints()),
                ]);
            }
            Fate::Untouched { untouched } => {
                facts.push(("Untouched", format!("{untouched}: left to the host")));
            }
        }
        let unused = if self.unused.is_empty() {
            String::new()
        } else {
            table::facts(&[("Unused", self.unused.len().to_string())])
        };
        format!(
            "Port {}/{}{name}\n{}{}{}{}",
            or_dash(row.port),
            row.protocol,
            table::indented(&table::facts(&facts), 2),
            items(&self.backends),
            table::indented(&unused, 2),
            items(&self.unused),
        )
    }

    fn endpoints(&self) -> String {
        if self.backends.is_empty() {
            "none: connections are refused".to_owned()
        } else {
            self.backends.len().to_string()
        }
    }
}

/// A table below a fact; nothing where it would be empty.
fn items<T: Item>(items: &[T]) -> String {
    if items.is_empty() {
        String::new()
    } else {
        table::indented(&output::items_table(items, false), 4)
    }
}

/// What clients dial, each with its type where that is noted.
fn frontends(row: &ServiceRow) -> String {
    if row.types.is_empty() {
        return joined(&row.frontends);
    }
    let frontends = row.frontends.iter().zip(&row.types);
    let frontends: Vec<_> = frontends.map(|(it, kind)| format!("{it} ({kind})")).collect();
    frontends.join(", ")
}

/// The service that is meant.
pub fn find(held: &Held, reference: &Reference) -> Result<ServiceDetail, Failure> {
    let rows = rows(held, &Scope::default())
        .into_iter()
        .filter(|row| reference.means(&row.service));
    let ports: Vec<PortDetail> = rows.map(|row| port(held, row)).collect();
    let first = ports
        .first()
        .ok_or_else(|| Failure::missing("service", reference))?;
    let Named { namespace, name, .. } = first.row.service.clone();
    Ok(ServiceDetail {
        namespace,
        name,
        ports,
    })
}

fn port(held: &Held, row: ServiceRow) -> PortDetail {
    let slots = held.slots.get(&row.service.id);
    let len = match &row.fate {
        Fate::Balanced { region, .. } => region.len,
        Fate::Untouched { .. } => 0,
    };
    let endpoint = |(&id, &slots)| {
        let backend = held.backends.get(&id);
        EndpointRow {
            id,
            address: backend.map(|backend| backend.addr.to_string()),
            port: backend.map(|backend| backend.port.get()),
            pod: backend.and_then(|backend| held.pod(backend.workload)),
            slots,
            share: unit::percent(slots.into(), len.into()),
        }
    };
    let backends = slots.into_iter().flatten().map(endpoint).collect();
    PortDetail {
        row,
        backends,
        unused: Vec::new(),
    }
}

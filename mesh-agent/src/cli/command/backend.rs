//! `backend`: endpoints that services send to.

use std::net::SocketAddr;

use mesh_common::addr::socket_addr;
use serde::Serialize;

use crate::cli::{
    args::Format,
    failure::Failure,
    held::{Held, Named},
    node::Node,
    output::{self, Detail, Item, joined, number, or_dash, table, text},
    scope::Scope,
};

/// A backend that some slot names.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackendRow {
    id: u32,
    address: String,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Named>,
    services: Vec<Named>,
    slots: u32,
}

impl Item for BackendRow {
    const KIND: &'static str = "Backend";
    const NOUN: &'static str = "backend";
    const COLUMNS: &'static [table::Column] = &[
        number("ID"),
        text("ADDRESS"),
        number("PORT"),
        text("POD"),
        text("SERVICES"),
    ];
    const WIDE: &'static [table::Column] = &[number("SLOTS")];

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.address.clone(),
            self.port.to_string(),
            or_dash(self.pod.as_ref()),
            joined(&self.services),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.slots.to_string()]
    }
}

impl Detail for BackendRow {
    const KIND: &'static str = "Backend";

    fn name(&self) -> Option<String> {
        Some(format!("backend/{}", self.id))
    }

    fn text(&self) -> String {
        table::facts(&[
            ("Id", self.id.to_string()),
            ("Address", self.address.clone()),
            ("Port", self.port.to_string()),
            ("Pod", or_dash(self.pod.as_ref())),
            ("Services", joined(&self.services)),
            ("Slots", self.slots.to_string()),
        ])
    }
}

/// `backend list`.
pub fn list(node: &Node, scope: &Scope, format: Format) -> Result<String, Failure> {
    let held = node.held()?;
    scope.check(&held.names)?;
    output::list(&rows(&held, scope), format)
}

/// `backend show`.
pub fn show(node: &Node, backend: &str, format: Format) -> Result<String, Failure> {
    let wanted = Wanted::parse(backend)?;
    output::one(&find(&node.held()?, backend, wanted)?, format)
}

/// A backend is in the namespaces of the services that send to it.
fn rows(held: &Held, scope: &Scope) -> Vec<BackendRow> {
    let rows = held.backends.iter().map(|(&id, backend)| BackendRow {
        id,
        address: backend.addr.to_string(),
        port: backend.port.get(),
        pod: held.pod(backend.workload),
        services: held.services_of(id),
        slots: held.slots.values().filter_map(|slots| slots.get(&id)).sum(),
    });
    let labels = |row: &BackendRow| held.pod_labels(row.pod.as_ref()?.id);
    rows.filter(|row| row.services.is_empty() || row.services.iter().any(|service| scope.has(service)))
        .filter(|row| scope.selects(labels(row).as_ref()))
        .collect()
}

/// What a user calls a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wanted {
    Id(u32),
    At(SocketAddr),
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, Failure> {
        let id = text.strip_prefix("id:").unwrap_or(text).parse().map(Self::Id);
        let wanted = id.or_else(|_| text.parse().map(Self::At));
        wanted.map_err(|_| {
            Failure::usage(format!(
                "backend {text}: expected an id, or ADDR:PORT as 10.0.1.2:80 or [fd00::2]:80"
            ))
        })
    }
}

fn find(held: &Held, text: &str, wanted: Wanted) -> Result<BackendRow, Failure> {
    let is_wanted = |row: &BackendRow| match wanted {
        Wanted::Id(id) => row.id == id,
        Wanted::At(at) => held
            .backends
            .get(&row.id)
            .is_some_and(|it| socket_addr(it.addr, it.port) == at),
    };
    let mut found: Vec<BackendRow> = rows(held, &Scope::default())
        .into_iter()
        .filter(is_wanted)
        .collect();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(Failure::missing("backend", text)),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            let ids: Vec<u32> = found.iter().chain([&last]).map(|row| row.id).collect();
            Err(Failure::failed(format!(
                "backend {text} is there several times: name it by id: {}",
                joined(&ids)
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::held::sample;

    #[test]
    fn the_table() {
        let rows = rows(&sample::held(), &Scope::default());
        assert_eq!(
            output::list(&rows, Format::Wide).unwrap(),
            "\
ID   ADDRESS    PORT   POD          SERVICES   SLOTS
 1   10.0.1.2   8080   shop/web-0   shop/web       3
 2   10.0.1.3   8080   shop/web-1   shop/web       1
 5   10.0.9.9   8080   -            id:9           1
"
        );
    }

    #[test]
    fn a_selector_looks_at_the_labels_of_the_pod_behind() {
        let selected = |selector: &str| {
            let scope = Scope::default().selecting(Some(selector.parse().unwrap()));
            output::list(&rows(&sample::held(), &scope), Format::Name).unwrap()
        };
        assert_eq!(selected("track=canary"), "backend/2\n");
        assert_eq!(selected("app=web"), "backend/1\nbackend/2\n");
    }

    #[test]
    fn one_is_found_by_id_and_by_address() {
        let held = sample::held();
        let find = |text: &str| find(&held, text, Wanted::parse(text)?);
        assert_eq!(find("2").unwrap(), find("10.0.1.3:8080").unwrap());
        assert_eq!(
            find("7").unwrap_err().to_string(),
            "backend 7 is not in the kernel"
        );
        assert_eq!(find("web").unwrap_err().exit(), 2);
        assert_eq!(
            output::one(&find("id:2").unwrap(), Format::Json).unwrap(),
            r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "Backend",
  "id": 2,
  "address": "10.0.1.3",
  "port": 8080,
  "pod": {
    "namespace": "shop",
    "name": "web-1",
    "id": 3
  },
  "services": [
    {
      "namespace": "shop",
      "name": "web",
      "id": 1
    }
  ],
  "slots": 1
}
"#
        );
    }

    #[test]
    fn two_records_of_one_address_are_told_apart_by_id() {
        let mut held = sample::held();
        let same = held.backends[&2];
        held.backends
            .insert(1, mesh_common::service::Backend { workload: 9, ..same });
        let error = find(
            &held,
            "10.0.1.3:8080",
            Wanted::At("10.0.1.3:8080".parse().unwrap()),
        )
        .unwrap_err();
        assert!(error.to_string().ends_with("name it by id: 1,2"), "{error}");
    }
}

//! `workload`: every pod address of the cluster the kernel knows.

use std::net::IpAddr;

use mesh_common::{addr::Addr, tag::Tagged, workload::flag};
use serde::Serialize;

use crate::cli::{
    args::Format,
    failure::Failure,
    held::{Held, Named},
    node::Node,
    output::{self, Detail, Item, joined, number, table, text},
    scope::Scope,
};

/// An address of a pod.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadRow {
    address: IpAddr,
    pod: Named,
    /// On this node.
    local: bool,
    /// In the mesh.
    enrolled: bool,
    /// Why not, where it asks for the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    unenrolled: Option<String>,
}

impl Item for WorkloadRow {
    const KIND: &'static str = "Workload";
    const NOUN: &'static str = "workload";
    const COLUMNS: &'static [table::Column] = &[
        text("ADDRESS"),
        text("NAMESPACE"),
        text("POD"),
        text("LOCAL"),
        text("ENROLLED"),
    ];
    const WIDE: &'static [table::Column] = &[number("ID")];

    fn name(&self) -> String {
        self.address.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.address.to_string(),
            self.pod.namespace_cell(),
            self.pod.name_cell(),
            yes(self.local),
            enrolled(self.enrolled, self.unenrolled.as_ref()),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.pod.id.to_string()]
    }
}

/// A pod with all its addresses.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadDetail {
    #[serde(flatten)]
    pod: Named,
    addresses: Vec<IpAddr>,
    local: bool,
    enrolled: bool,
    /// Why not, where it asks for the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    unenrolled: Option<String>,
    /// Services that send to it.
    services: Vec<Named>,
}

impl Detail for WorkloadDetail {
    const KIND: &'static str = "Workload";

    fn name(&self) -> Option<String> {
        Some(format!("workload/{}", self.pod))
    }

    fn text(&self) -> String {
        table::facts(&[
            ("Namespace", self.pod.namespace_cell()),
            ("Pod", self.pod.name_cell()),
            ("Id", self.pod.id.to_string()),
            ("Addresses", joined(&self.addresses)),
            ("Local", yes(self.local)),
            ("Enrolled", enrolled(self.enrolled, self.unenrolled.as_ref())),
            ("Services", joined(&self.services)),
        ])
    }
}

/// `workload list`.
pub fn list(node: &Node, scope: &Scope, format: Format) -> Result<String, Failure> {
    let held = node.held()?;
    scope.check(&held.names)?;
    output::list(&rows(&held, scope), format)
}

/// `workload show`.
pub fn show(node: &Node, scope: &Scope, workload: &str, format: Format) -> Result<String, Failure> {
    output::one(&find(&node.held()?, scope, workload)?, format)
}

fn rows(held: &Held, scope: &Scope) -> Vec<WorkloadRow> {
    let row = |(addr, value): (&Addr, &Tagged)| {
        let pod = pod(held, value.id());
        WorkloadRow {
            address: (*addr).into(),
            local: value.flags() & flag::LOCAL != 0,
            enrolled: value.flags() & flag::ENROLLED != 0,
            unenrolled: held.unenrolled(&pod).map(ToOwned::to_owned),
            pod,
        }
    };
    let mut rows: Vec<WorkloadRow> = held
        .workloads
        .iter()
        .map(row)
        .filter(|row| scope.has(&row.pod) && scope.selects(held.pod_labels(row.pod.id).as_ref()))
        .collect();
    rows.sort_by(|a, b| (&a.pod, a.address).cmp(&(&b.pod, b.address)));
    rows
}

fn find(held: &Held, scope: &Scope, text: &str) -> Result<WorkloadDetail, Failure> {
    let id = if let Ok(ip) = text.parse::<IpAddr>() {
        held.workloads.get(&Addr::from(ip)).map(|value| value.id())
    } else {
        let reference = scope.reference("workload", text)?;
        held.workloads
            .values()
            .map(|value| value.id())
            .find(|&id| reference.means(&pod(held, id)))
    };
    let id = id.ok_or_else(|| Failure::missing("workload", text))?;
    let own: Vec<_> = held
        .workloads
        .iter()
        .filter(|(_, value)| value.id() == id)
        .collect();
    let has = |bit| own.iter().any(|(_, value)| value.flags() & bit != 0);
    let backends = held.backends.iter().filter(|(_, backend)| backend.workload == id);
    let mut services: Vec<Named> = backends
        .flat_map(|(&backend, _)| held.services_of(backend))
        .collect();
    services.sort();
    services.dedup();
    let pod = pod(held, id);
    Ok(WorkloadDetail {
        addresses: held.addresses(id),
        local: has(flag::LOCAL),
        enrolled: has(flag::ENROLLED),
        unenrolled: held.unenrolled(&pod).map(ToOwned::to_owned),
        services,
        pod,
    })
}

fn pod(held: &Held, id: u32) -> Named {
    held.pod(id).unwrap_or(Named {
        namespace: None,
        name: None,
        id,
    })
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn enrolled(is: bool, why_not: Option<&String>) -> String {
    match why_not {
        Some(why) if !is => format!("no: {why}"),
        _ => yes(is),
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
ADDRESS     NAMESPACE   POD      LOCAL   ENROLLED                       ID
10.0.1.4    -           id:4     yes     yes                             4
10.0.1.1    shop        client   yes     yes                             1
fd00::1:1   shop        client   yes     yes                             1
10.0.1.5    shop        legacy   yes     no: other-mesh (istio-proxy)    5
10.0.1.2    shop        web-0    no      yes                             2
10.0.1.3    shop        web-1    no      no                              3
"
        );
    }

    #[test]
    fn a_selector_looks_at_the_labels_of_the_pod() {
        let selected = |selector: &str| {
            let scope = Scope::default().selecting(Some(selector.parse().unwrap()));
            output::list(&rows(&sample::held(), &scope), Format::Name).unwrap()
        };
        assert_eq!(
            selected("app=web"),
            "workload/10.0.1.5\nworkload/10.0.1.2\nworkload/10.0.1.3\n"
        );
        assert_eq!(
            selected("track in (canary)"),
            "workload/10.0.1.5\nworkload/10.0.1.3\n"
        );
        assert_eq!(selected("!app"), "workload/10.0.1.1\nworkload/fd00::1:1\n");
    }

    #[test]
    fn one_is_found_by_name_and_by_address() {
        let held = sample::held();
        let find = |text: &str| find(&held, &Scope::default(), text);
        assert_eq!(find("10.0.1.2").unwrap(), find("shop/web-0").unwrap());
        assert_eq!(
            output::one(&find("fd00::1:1").unwrap(), Format::Yaml).unwrap(),
            "\
apiVersion: mesh-agent.io/v1alpha1
kind: Workload
namespace: shop
name: client
id: 1
addresses:
- 10.0.1.1
- fd00::1:1
local: true
enrolled: true
services: []
"
        );
        assert_eq!(
            find("10.9.9.9").unwrap_err().to_string(),
            "workload 10.9.9.9 is not in the kernel"
        );
    }
}

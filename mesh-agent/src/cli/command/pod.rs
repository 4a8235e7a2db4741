//! `pod`: the pods of this node that are in the mesh, as `PODS` has them, and those that ask for it and are not.

use std::borrow::Cow;

use mesh_common::workload::PodRef;
use serde::Serialize;

use crate::app::names::UnenrolledName;
use crate::cli::{
    args::Format,
    failure::Failure,
    held::{Held, Named},
    node::Node,
    output::{self, Detail, Item, joined, number, or_dash, table, text},
    scope::{Reference, Scope},
};

/// A pod of this node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodRow {
    #[serde(flatten)]
    pod: Named,
    /// `enrolled`, or why it is not.
    state: Cow<'static, str>,
    /// Cookie of its network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns_cookie: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns_path: Option<String>,
    addresses: Vec<String>,
    /// What consistent hashing knows it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
}

/// The state of a pod that is in the mesh.
const ENROLLED: &str = "enrolled";

impl Item for PodRow {
    const KIND: &'static str = "Pod";
    const NOUN: &'static str = "pod";
    const COLUMNS: &'static [table::Column] = &[
        text("NAMESPACE"),
        text("NAME"),
        text("STATE"),
        text("ADDRESSES"),
        number("NETNS"),
        text("HANDLE"),
    ];
    const WIDE: &'static [table::Column] = &[number("ID"), number("SEED")];

    fn name(&self) -> String {
        self.pod.to_string()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.pod.namespace_cell(),
            self.pod.name_cell(),
            self.state.to_string(),
            joined(&self.addresses),
            or_dash(self.netns_cookie),
            or_dash(self.netns_path.as_ref()),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let id = Some(self.pod.id).filter(|&id| id != 0);
        vec![or_dash(id), self.seed()]
    }
}

impl PodRow {
    fn seed(&self) -> String {
        or_dash(self.seed.map(|seed| format!("{seed:08x}")))
    }
}

impl Detail for PodRow {
    const KIND: &'static str = "Pod";

    fn name(&self) -> Option<String> {
        Some(format!("pod/{}", self.pod))
    }

    fn text(&self) -> String {
        table::facts(&[
            ("Namespace", self.pod.namespace_cell()),
            ("Name", self.pod.name_cell()),
            ("State", self.state.to_string()),
            ("Workload id", or_dash(Some(self.pod.id).filter(|&id| id != 0))),
            ("Addresses", joined(&self.addresses)),
            ("Netns cookie", or_dash(self.netns_cookie)),
            ("Netns handle", or_dash(self.netns_path.as_ref())),
            ("Seed", self.seed()),
        ])
    }
}

/// `pod list`.
pub fn list(node: &Node, scope: &Scope, format: Format) -> Result<String, Failure> {
    let held = node.held()?;
    scope.check(&held.names)?;
    output::list(&rows(&held, scope), format)
}

/// `pod show`.
pub fn show(node: &Node, scope: &Scope, pod: &str, format: Format) -> Result<String, Failure> {
    let reference = scope.reference("pod", pod)?;
    output::one(&find(&node.held()?, &reference)?, format)
}

fn rows(held: &Held, scope: &Scope) -> Vec<PodRow> {
    let enrolled = held.pods.iter().map(|(&cookie, pod)| {
        let labels = held.pod_labels(pod.workload.id());
        (row(held, cookie, pod), labels)
    });
    let unenrolled = held.names.unenrolled.iter();
    let unenrolled = unenrolled.map(|pod| (kept_out(held, pod), held.names.labels(pod.pod.labels)));
    let rows = enrolled.chain(unenrolled);
    let wanted = rows.filter(|(row, labels)| scope.has(&row.pod) && scope.selects(labels.as_ref()));
    let mut rows: Vec<PodRow> = wanted.map(|(row, _)| row).collect();
    rows.sort_by(|a, b| (&a.pod, a.netns_cookie).cmp(&(&b.pod, b.netns_cookie)));
    rows
}

fn row(held: &Held, netns_cookie: u64, pod: &PodRef) -> PodRow {
    let id = pod.workload.id();
    let path = held
        .names
        .workloads
        .get(&id)
        .and_then(|known| known.netns.as_ref());
    PodRow {
        pod: held.pod(id).unwrap_or(Named {
            namespace: None,
            name: None,
            id,
        }),
        state: ENROLLED.into(),
        netns_cookie: Some(netns_cookie),
        netns_path: path.map(|path| path.display().to_string()),
        addresses: held.addresses(id).iter().map(ToString::to_string).collect(),
        seed: Some(pod.seed),
    }
}

/// A pod that asks for the mesh and is not in it.
fn kept_out(held: &Held, UnenrolledName { pod, why }: &UnenrolledName) -> PodRow {
    let known = held.names.workloads.iter();
    let id = known
        .filter(|(_, it)| (&it.namespace, &it.name) == (&pod.namespace, &pod.name))
        .map(|(&id, _)| id)
        .next();
    PodRow {
        pod: Named {
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            id: id.unwrap_or_default(),
        },
        state: why.clone().into(),
        netns_cookie: None,
        netns_path: None,
        addresses: id
            .into_iter()
            .flat_map(|id| held.addresses(id))
            .map(|address| address.to_string())
            .collect(),
        seed: None,
    }
}

fn find(held: &Held, reference: &Reference) -> Result<PodRow, Failure> {
    let found = rows(held, &Scope::default())
        .into_iter()
        .find(|row| reference.means(&row.pod));
    found.ok_or_else(|| {
        let known = held
            .names
            .workloads
            .keys()
            .filter_map(|&id| held.pod(id))
            .any(|pod| reference.means(&pod));
        if known {
            Failure::failed(format!(
                "pod {reference} is not one of this node's pods in the mesh: see `workload show`"
            ))
        } else {
            Failure::missing("pod", reference)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::held::sample;

    #[test]
    fn the_table() {
        let held = sample::held();
        assert_eq!(
            output::list(&rows(&held, &Scope::default()), Format::Wide).unwrap(),
            "\
NAMESPACE   NAME     STATE                      ADDRESSES            NETNS   HANDLE              ID       SEED
-           id:4     enrolled                   10.0.1.4              4027   -                    4   00000007
shop        client   enrolled                   10.0.1.1,fd00::1:1    4026   /run/netns/client    1   0000abcd
shop        legacy   other-mesh (istio-proxy)   10.0.1.5                 -   -                    5          -
shop        probe    host-network               -                        -   -                    -          -
"
        );
        let scope = Scope::new(Some("shop".into()));
        assert_eq!(
            output::list(&rows(&held, &scope), Format::Name).unwrap(),
            "pod/shop/client\npod/shop/legacy\npod/shop/probe\n"
        );
        for (selector, expected) in [
            ("!app", "pod/shop/client\npod/shop/probe\n"),
            ("app", "pod/shop/legacy\n"),
        ] {
            let scope = Scope::default().selecting(Some(selector.parse().unwrap()));
            assert_eq!(
                output::list(&rows(&held, &scope), Format::Name).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn one_pod() {
        let held = sample::held();
        let find = |text: &str| find(&held, &Scope::default().reference("pod", text).unwrap());
        assert_eq!(
            output::one(&find("shop/client").unwrap(), Format::Table).unwrap(),
            "\
Namespace:     shop
Name:          client
State:         enrolled
Workload id:   1
Addresses:     10.0.1.1,fd00::1:1
Netns cookie:  4026
Netns handle:  /run/netns/client
Seed:          0000abcd
"
        );
        assert_eq!(
            find("shop/none").unwrap_err().to_string(),
            "pod shop/none is not in the kernel"
        );
        assert!(
            find("shop/web-0")
                .unwrap_err()
                .to_string()
                .contains("workload show")
        );
    }
}

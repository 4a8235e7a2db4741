//! `pod`: the pods of this node that are in the mesh, as `PODS` and `PENDING_PODS` have them, and those that ask for it
//! and are not.

use std::{borrow::Cow, collections::BTreeSet, path::PathBuf};

use mesh_common::{
    names::fail_mode,
    workload::{PodRef, flag},
};
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
    /// `enrolled`, `pending`, or why it is not in the mesh.
    state: Cow<'static, str>,
    /// Cookie of its network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    netns_cookie: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns_path: Option<String>,
    /// Id of its cgroup, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_path: Option<String>,
    /// What becomes of what it sends, while it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_mode: Option<&'static str>,
    addresses: Vec<String>,
    /// What consistent hashing knows it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    /// How many sockets it had before it was in the mesh, and still has; not there before they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    unobserved_sockets: Option<usize>,
}

/// The state of a pod that is known by its network namespace.
const ENROLLED: &str = "enrolled";
/// The state of a pod that is known by its cgroup, until its network namespace is known.
const PENDING: &str = "pending";

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
    const WIDE: &'static [table::Column] = &[number("ID"), number("SEED"), number("UNOBSERVED")];

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
            or_dash(self.netns_path.as_ref().or(self.cgroup_path.as_ref())),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let id = Some(self.pod.id).filter(|&id| id != 0);
        vec![or_dash(id), self.seed(), or_dash(self.unobserved_sockets)]
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
        let mut facts = vec![
            ("Namespace", self.pod.namespace_cell()),
            ("Name", self.pod.name_cell()),
            ("State", self.state.to_string()),
            ("Workload id", or_dash(Some(self.pod.id).filter(|&id| id != 0))),
            ("Addresses", joined(&self.addresses)),
        ];
        if self.state == PENDING {
            facts.extend([
                ("Cgroup id", or_dash(self.cgroup_id)),
                ("Cgroup", or_dash(self.cgroup_path.as_ref())),
                ("Fail mode", or_dash(self.fail_mode)),
            ]);
        } else {
            facts.extend([
                ("Netns cookie", or_dash(self.netns_cookie)),
                ("Netns handle", or_dash(self.netns_path.as_ref())),
                ("Unobserved sockets", or_dash(self.unobserved_sockets)),
            ]);
        }
        facts.push(("Seed", self.seed()));
        table::facts(&facts)
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
    let enrolled = held.pods.iter().map(|(&cookie, pod)| PodRow {
        netns_cookie: Some(cookie),
        unobserved_sockets: held.unobserved.get(&cookie).map(BTreeSet::len),
        ..row(held, pod, ENROLLED)
    });
    let pending = held.pending.iter().map(|(&cgroup, pod)| {
        let closed = pod.workload.flags() & flag::CLOSED != 0;
        PodRow {
            cgroup_id: Some(cgroup),
            fail_mode: Some(if closed {
                fail_mode::CLOSED
            } else {
                fail_mode::OPEN
            }),
            ..row(held, pod, PENDING)
        }
    });
    let known = enrolled.chain(pending).map(|row| {
        let labels = held.pod_labels(row.pod.id);
        (row, labels)
    });
    let unenrolled = held.names.unenrolled.iter();
    let unenrolled = unenrolled.map(|pod| (kept_out(held, pod), held.names.labels(pod.pod.labels)));
    let rows = known.chain(unenrolled);
    let wanted = rows.filter(|(row, labels)| scope.has(&row.pod) && scope.selects(labels.as_ref()));
    let mut rows: Vec<PodRow> = wanted.map(|(row, _)| row).collect();
    rows.sort_by_key(|row| {
        (
            row.pod.clone(),
            row.state.clone(),
            row.netns_cookie,
            row.cgroup_id,
        )
    });
    rows
}

fn row(held: &Held, pod: &PodRef, state: &'static str) -> PodRow {
    let id = pod.workload.id();
    let known = held.names.workloads.get(&id);
    let shown = |path: Option<&PathBuf>| path.map(|path| path.display().to_string());
    PodRow {
        pod: held.pod(id).unwrap_or(Named {
            namespace: None,
            name: None,
            id,
        }),
        state: state.into(),
        netns_cookie: None,
        netns_path: shown(known.and_then(|known| known.netns.as_ref())),
        cgroup_id: None,
        cgroup_path: shown(known.and_then(|known| known.cgroup.as_ref())),
        fail_mode: None,
        addresses: held.addresses(id).iter().map(ToString::to_string).collect(),
        seed: Some(pod.seed),
        unobserved_sockets: None,
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
        cgroup_id: None,
        cgroup_path: None,
        fail_mode: None,
        addresses: id
            .into_iter()
            .flat_map(|id| held.addresses(id))
            .map(|address| address.to_string())
            .collect(),
        seed: None,
        unobserved_sockets: None,
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
NAMESPACE   NAME     STATE                      ADDRESSES            NETNS   HANDLE                         ID       SEED   UNOBSERVED
-           id:4     enrolled                   10.0.1.4              4027   -                               4   00000007            -
shop        client   enrolled                   10.0.1.1,fd00::1:1    4026   /run/netns/client               1   0000abcd            2
shop        legacy   other-mesh (istio-proxy)   10.0.1.5                 -   -                               5          -            -
shop        probe    host-network               -                        -   -                               -          -            -
shop        web-2    pending                    -                        -   /sys/fs/cgroup/kubepods/pod6    6   00000009            -
"
        );
        let scope = Scope::new(Some("shop".into()));
        assert_eq!(
            output::list(&rows(&held, &scope), Format::Name).unwrap(),
            "pod/shop/client\npod/shop/legacy\npod/shop/probe\npod/shop/web-2\n"
        );
        for (selector, expected) in [
            ("!app", "pod/shop/client\npod/shop/probe\n"),
            ("app", "pod/shop/legacy\npod/shop/web-2\n"),
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
Namespace:           shop
Name:                client
State:               enrolled
Workload id:         1
Addresses:           10.0.1.1,fd00::1:1
Netns cookie:        4026
Netns handle:        /run/netns/client
Unobserved sockets:  2
Seed:                0000abcd
"
        );
        assert_eq!(
            output::one(&find("shop/web-2").unwrap(), Format::Table).unwrap(),
            "\
Namespace:    shop
Name:         web-2
State:        pending
Workload id:  6
Addresses:    -
Cgroup id:    77
Cgroup:       /sys/fs/cgroup/kubepods/pod6
Fail mode:    closed
Seed:         00000009
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

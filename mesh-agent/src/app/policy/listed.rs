//! The policies, and each alone with what was made of it on this node.

use std::collections::BTreeSet;

use mesh_common::policy::{Direction, OPEN};
use serde::{Deserialize, Serialize};

use super::{PolicyView, Standing};
use crate::model::{
    desired::ObjectName,
    object::{
        NetworkPolicy,
        network_policy::{Peer, PortRule, Rule},
    },
    policy::{Pod, explain::Kernel},
};

/// A policy, in short.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The directions in which it isolates pods: `ingress`, `egress`.
    pub directions: Vec<String>,
    /// How many rules it has.
    pub rules: usize,
    /// How many pods of this node it selects.
    pub pods: usize,
    /// How many of them are not in the mesh, so that nobody of ours enforces it.
    pub unenforced: usize,
    /// `metadata.generation` of the newest version the agent has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// That of the version in this node's kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_force: Option<i64>,
    /// What of it could not be read, and so lets nothing pass.
    pub faults: Vec<String>,
}

/// A policy, and what was made of it on this node.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyDetail {
    /// In short.
    #[serde(flatten)]
    pub row: PolicyRow,
    /// The pods of its namespace it selects, as `kubectl` writes selectors.
    pub selector: String,
    /// What may come to them; nothing where it does not isolate them so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<RuleText>>,
    /// What they may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<RuleText>>,
    /// The pods of this node it selects.
    pub selected: Vec<SelectedPod>,
    /// The rule sets in the kernel that it is a part of.
    pub sets: Vec<SetRow>,
}

/// A rule, read back.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleText {
    /// Its place in the object.
    pub index: usize,
    /// The peers; none are all.
    pub peers: Vec<String>,
    /// The ports, as `TCP/80-90`; none are all of all protocols.
    pub ports: Vec<String>,
}

/// A pod that a policy selects.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SelectedPod {
    /// Its name.
    pub pod: String,
    /// Why nobody of ours enforces the policy; nothing where this node does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unenforced: Option<String>,
    /// Number of its rule set for what comes to it; 0 where all passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_set: Option<u32>,
    /// Number of its rule set for what it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_set: Option<u32>,
}

/// A rule set in the kernel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetRow {
    /// Its number.
    pub set: u32,
    /// `ingress` or `egress`.
    pub direction: String,
    /// All policies it was made of.
    pub policies: Vec<String>,
    /// How many entries of `POLICY` it has.
    pub entries: usize,
}

/// The policies of a namespace, or of all where it is empty.
#[must_use]
pub fn list(view: &impl PolicyView, namespace: &str) -> Vec<PolicyRow> {
    let pods = view.own_pods();
    let policies = view.policies();
    let wanted = policies.values();
    let wanted = wanted.filter(|policy| namespace.is_empty() || *policy.name.namespace == *namespace);
    wanted.map(|policy| row(view, policy, &pods)).collect()
}

/// One policy; `kernel` is what this node's tables hold. `None` where the agent knows of no such policy.
#[must_use]
pub fn show(view: &impl PolicyView, kernel: &Kernel, name: &ObjectName) -> Option<PolicyDetail> {
    let policy = view.policies().remove(name)?;
    let pods = view.own_pods();
    let selected: Vec<_> = selected(&policy, &pods).collect();
    let rules = |direction| {
        let rules = policy.rules(direction)?;
        Some(rules.iter().map(RuleText::of).collect())
    };
    Some(PolicyDetail {
        row: row(view, &policy, &pods),
        selector: policy.pods.to_string(),
        ingress: rules(Direction::Ingress),
        egress: rules(Direction::Egress),
        selected: selected
            .iter()
            .map(|(pod, standing)| SelectedPod::of(pod, standing, kernel))
            .collect(),
        sets: sets(view, kernel, &policy, &selected),
    })
}

fn row(view: &impl PolicyView, policy: &NetworkPolicy, pods: &[(Pod, Standing)]) -> PolicyRow {
    let directions = Direction::ALL
        .into_iter()
        .filter(|&it| policy.rules(it).is_some());
    let directions = directions.map(|direction| direction.name().to_owned());
    let rules = Direction::ALL
        .into_iter()
        .filter_map(|direction| policy.rules(direction));
    let selected = || selected(policy, pods);
    PolicyRow {
        namespace: policy.name.namespace.to_string(),
        name: policy.name.name.to_string(),
        directions: directions.collect(),
        rules: rules.map(<[Rule]>::len).sum(),
        pods: selected().count(),
        unenforced: selected()
            .filter(|(_, standing)| matches!(standing, Standing::Outside { .. }))
            .count(),
        generation: policy.generation,
        in_force: view.in_force().generation(&policy.name),
        faults: policy.faults.iter().map(ToString::to_string).collect(),
    }
}

/// The pods that a policy selects.
fn selected<'a>(
    policy: &NetworkPolicy,
    pods: &'a [(Pod, Standing)],
) -> impl Iterator<Item = &'a (Pod, Standing)> {
    pods.iter()
        .filter(|(pod, _)| pod.name.namespace == policy.name.namespace && policy.pods.matches(&pod.labels))
}

/// The sets of its pods, in the directions in which it isolates them.
fn sets(
    view: &impl PolicyView,
    kernel: &Kernel,
    policy: &NetworkPolicy,
    selected: &[&(Pod, Standing)],
) -> Vec<SetRow> {
    let of_pod = |(_, standing): &&(Pod, Standing)| kernel.sets(workload(standing)?);
    let numbers = selected.iter().filter_map(of_pod).flat_map(|sets| {
        let directions = Direction::ALL
            .into_iter()
            .filter(|&it| policy.rules(it).is_some());
        directions.map(move |direction| (direction, sets[direction as usize]))
    });
    let numbers: BTreeSet<_> = numbers.filter(|&(_, set)| set != OPEN).collect();
    let row = |(direction, set): (Direction, u32)| SetRow {
        set,
        direction: direction.name().to_owned(),
        policies: view
            .in_force()
            .set(set)
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        entries: kernel.entries(set),
    };
    numbers.into_iter().map(row).collect()
}

const fn workload(standing: &Standing) -> Option<u32> {
    match standing {
        Standing::Here { workload } => *workload,
        _ => None,
    }
}

impl RuleText {
    fn of(rule: &Rule) -> Self {
        Self {
            index: rule.index,
            peers: rule.peers.iter().map(Peer::to_string).collect(),
            ports: rule.ports.iter().map(PortRule::to_string).collect(),
        }
    }
}

impl SelectedPod {
    fn of(pod: &Pod, standing: &Standing, kernel: &Kernel) -> Self {
        let sets = workload(standing).and_then(|id| kernel.sets(id));
        let unenforced = match standing {
            Standing::Outside { why, .. } => Some(why.clone()),
            Standing::Here { .. } if sets.is_none() => Some("the kernel knows nothing of it yet".to_owned()),
            _ => None,
        };
        Self {
            pod: pod.name.to_string(),
            unenforced,
            ingress_set: sets.map(|sets| sets[Direction::Ingress as usize]),
            egress_set: sets.map(|sets| sets[Direction::Egress as usize]),
        }
    }
}

//! How it is with network policies on this node. How full their tables are is told beside all others
//! (`mesh_map_entries`).

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

/// Figures of now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PolicyCounts {
    /// Policies the agent knows.
    pub policies: usize,
    /// Pods of this node that policies isolate, and the mesh sees to it.
    pub enforced: usize,
    /// Those that are not in the mesh.
    pub unenforced: usize,
    /// Namespaces where what policies refuse passes and is reported.
    pub audited: usize,
    /// Things that found no room.
    pub problems: usize,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PodLabels {
    enforced: &'static str,
}

/// The gauges.
#[derive(Default)]
pub(super) struct PolicyGauges {
    policies: Gauge,
    pods: Family<PodLabels, Gauge>,
    audited: Gauge,
    problems: Gauge,
}

impl PolicyGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "mesh_policies",
            "Network policies the agent knows",
            self.policies.clone(),
        );
        registry.register(
            "mesh_policy_pods",
            "Pods of this node that network policies isolate, by whether the mesh sees to it",
            self.pods.clone(),
        );
        registry.register(
            "mesh_policy_audited_namespaces",
            "Namespaces where what network policies refuse passes and is reported",
            self.audited.clone(),
        );
        registry.register(
            "mesh_policy_problems",
            "Things of network policies that found no room in the kernel's tables",
            self.problems.clone(),
        );
    }

    pub(super) fn set(&self, counts: PolicyCounts) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.policies.set(number(counts.policies));
        for (enforced, count) in [("true", counts.enforced), ("false", counts.unenforced)] {
            self.pods
                .get_or_create(&PodLabels { enforced })
                .set(number(count));
        }
        self.audited.set(number(counts.audited));
        self.problems.set(number(counts.problems));
    }
}

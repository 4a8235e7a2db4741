//! How it is with policies on this node, in figures.

use mesh_common::policy::Direction;
use serde::{Deserialize, Serialize};

use super::{PolicyView, Standing};
use crate::{
    model::policy::{Cluster, Pod, reference},
    telemetry::metrics::PolicyCounts,
};

/// How it is with policies.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyState {
    /// How many policies the agent knows.
    pub policies: usize,
    /// How many pods of this node they isolate, and the mesh sees to it.
    pub pods: usize,
    /// Namespaces where what policies refuse passes and is reported.
    pub audited: Vec<String>,
    /// Pods of this node that policies isolate, and nobody of ours sees to it, each with the reason.
    pub unenforced: Vec<String>,
    /// What found no room, and what follows from it.
    pub problems: Vec<String>,
}

impl PolicyState {
    /// The same in figures.
    #[must_use]
    pub const fn counts(&self) -> PolicyCounts {
        PolicyCounts {
            policies: self.policies,
            enforced: self.pods,
            unenforced: self.unenforced.len(),
            audited: self.audited.len(),
            problems: self.problems.len(),
        }
    }
}

/// How it is now.
#[must_use]
pub fn state(view: &impl PolicyView) -> PolicyState {
    let cluster = Cluster {
        policies: view.policies(),
        ..Cluster::default()
    };
    let isolated = |pod: &Pod| {
        let mut directions = Direction::ALL.into_iter();
        directions.any(|direction| reference::isolating(&cluster, pod, direction).next().is_some())
    };
    let own = view.own_pods();
    let isolated: Vec<_> = own.iter().filter(|(pod, _)| isolated(pod)).collect();
    let unenforced = isolated.iter().filter_map(|(pod, standing)| match standing {
        Standing::Outside { why, .. } => Some(format!("{}: {why}", pod.name)),
        _ => None,
    });
    let unenforced: Vec<_> = unenforced.collect();
    PolicyState {
        policies: cluster.policies.len(),
        pods: isolated.len() - unenforced.len(),
        audited: view.audited(),
        unenforced,
        problems: view.in_force().problems(),
    }
}

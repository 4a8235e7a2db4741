//! An engine's view of policies.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use mesh_common::{
    addr::{Addr, Port},
    names::unenrolled,
    policy::Direction,
};
use serde::{Deserialize, Serialize};

use super::{InForce, PolicyView, Standing};
use crate::{
    app::{engine::Engine, names::SetName},
    model::{
        desired::{ObjectName, PodKey, PortKey},
        object::{self, NetworkPolicy},
        policy::{Cluster, Pod, RuleRef},
    },
};

/// What an engine knows, and what it made of it.
pub struct View<'a> {
    engine: &'a Engine,
    /// By pod, for those of this node.
    workloads: HashMap<&'a PodKey, u32>,
}

/// The versions of a policy.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Versions {
    /// Whether the agent knows the policy.
    pub known: bool,
    /// `metadata.generation` of the newest version it has seen; none where nobody counts, as in manifests.
    pub seen: Option<i64>,
    /// That of the version in this node's kernel.
    pub in_force: Option<i64>,
    /// Whether the kernel has what the agent planned.
    pub settled: bool,
}

impl Versions {
    /// Whether a version is in force that is no older than a generation; where none is given, the newest the agent has
    /// seen.
    #[must_use]
    pub fn is_in_force(&self, wanted: Option<i64>) -> bool {
        match (wanted.or(self.seen), self.in_force) {
            (Some(wanted), Some(in_force)) => self.settled && in_force >= wanted,
            (None, None) => self.settled && self.known,
            _ => false,
        }
    }
}

/// The versions of a policy, without looking at anything else.
#[must_use]
pub fn versions(engine: &Engine, name: &ObjectName) -> Versions {
    let policy = engine.cluster().policy(name);
    Versions {
        known: policy.is_some(),
        seen: policy.and_then(|policy| policy.generation),
        in_force: engine.generation(name),
        settled: engine.is_settled(),
    }
}

/// The policies behind the rule sets that are in use, as names.
#[must_use]
pub fn sets(engine: &Engine) -> BTreeMap<u32, SetName> {
    let sets = InForce::sets(engine).into_iter();
    sets.map(|(number, direction, policies)| {
        let name = SetName {
            direction: direction.name().to_owned(),
            policies: policies.iter().map(ToString::to_string).collect(),
        };
        (number, name)
    })
    .collect()
}

impl<'a> View<'a> {
    /// Of an engine, now.
    #[must_use]
    pub fn of(engine: &'a Engine) -> Self {
        let workloads = engine.ledger().workloads();
        Self {
            engine,
            workloads: workloads.map(|(id, pod)| (pod, id)).collect(),
        }
    }

    fn stands(&self, pod: &object::Pod) -> Standing {
        let cluster = self.engine.cluster();
        let here = cluster.runs_here(pod);
        if pod.host_network {
            let addresses = pod.addresses.clone();
            return Standing::HostNetwork { here, addresses };
        }
        match (cluster.takes_in(pod), here) {
            (true, true) => Standing::Here {
                workload: self.workloads.get(&pod.key).copied(),
            },
            (true, false) => Standing::Elsewhere,
            (false, _) => Standing::Outside {
                here,
                why: pod
                    .unenrolled
                    .map_or_else(|| unenrolled::UNASKED.to_owned(), |why| why.to_string()),
            },
        }
    }

    fn pod(&self, key: &PodKey) -> Option<Pod> {
        let facts = self.engine.cluster().policy_pod(key)?;
        Some(Pod {
            name: key.object.clone(),
            labels: facts.labels,
            addresses: facts.addresses,
            ports: facts.ports,
        })
    }
}

impl PolicyView for View<'_> {
    fn cluster(&self) -> Cluster {
        let cluster = self.engine.cluster();
        let labels = |name: &str| Some((name.into(), cluster.namespace_facts(name)?.labels));
        Cluster {
            namespaces: cluster.namespaces().filter_map(labels).collect(),
            pods: cluster.pods().filter_map(|key| self.pod(key)).collect(),
            policies: self.policies(),
        }
    }

    fn policies(&self) -> BTreeMap<ObjectName, Arc<NetworkPolicy>> {
        let cluster = self.engine.cluster();
        let policies = cluster.policies();
        policies
            .filter_map(|name| Some((name.clone(), cluster.policy(name)?)))
            .collect()
    }

    fn own_pods(&self) -> Vec<(Pod, Standing)> {
        let pods = self.engine.cluster().own_pods();
        pods.filter_map(|pod| Some((self.pod(&pod.key)?, self.stands(pod))))
            .collect()
    }

    fn standing(&self, name: &ObjectName) -> Option<Standing> {
        let pod = self.engine.cluster().pod_named(name)?;
        Some(self.stands(pod))
    }

    fn is_own_address(&self, addr: &Addr) -> bool {
        self.engine.cluster().is_own_address(addr)
    }

    fn is_audited(&self, namespace: &str) -> bool {
        let facts = self.engine.cluster().namespace_facts(namespace);
        facts.is_some_and(|facts| facts.audited)
    }

    fn audited(&self) -> Vec<String> {
        let names = self.engine.cluster().namespaces();
        names
            .filter(|name| self.is_audited(name))
            .map(ToOwned::to_owned)
            .collect()
    }

    fn fails_closed(&self, namespace: &str) -> bool {
        self.engine.cluster().fails_closed(namespace)
    }

    fn endpoints(&self, service: &ObjectName, port: u16, protocol: u8) -> Option<Vec<(Addr, Port)>> {
        let ports = self.engine.cluster().service(service)?;
        let meant = |key: &PortKey| key.port == port && key.protocol as u8 == protocol;
        let mut meant = ports.iter().filter(|(key, _)| meant(key)).peekable();
        meant.peek()?;
        let endpoints = meant.flat_map(|(_, port)| &port.endpoints);
        let endpoints: BTreeSet<_> = endpoints.map(|it| (it.addr, it.port.get())).collect();
        let endpoints = endpoints.into_iter();
        Some(endpoints.map(|(addr, port)| (addr, Port::new(port))).collect())
    }

    fn in_force(&self) -> &dyn InForce {
        self.engine
    }
}

impl InForce for Engine {
    fn rule(&self, number: u32) -> Option<RuleRef> {
        self.policies().enforcement().rule(number)
    }

    fn set(&self, number: u32) -> Option<Vec<ObjectName>> {
        Some(self.policies().enforcement().set(number)?.policies)
    }

    fn sets(&self) -> Vec<(u32, Direction, Vec<ObjectName>)> {
        let sets = self.policies().enforcement().sets();
        sets.map(|(number, set)| (number, set.direction, set.policies))
            .collect()
    }

    fn generation(&self, policy: &ObjectName) -> Option<i64> {
        self.policies().enforcement().generation(policy)
    }

    fn is_settled(&self) -> bool {
        self.is_sound()
    }

    fn problems(&self) -> Vec<String> {
        let problems = self.policies().enforcement().problems();
        problems.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_in_force_that_is_no_older_than_what_is_asked_for() {
        let versions = |known, seen, in_force| Versions {
            known,
            seen,
            in_force,
            settled: true,
        };
        for (versions, wanted, there) in [
            (versions(true, Some(3), Some(3)), None, true),
            (versions(true, Some(3), Some(2)), None, false),
            (versions(true, Some(3), Some(2)), Some(2), true),
            (versions(true, Some(3), Some(3)), Some(4), false),
            (versions(true, Some(3), None), None, false),
            (versions(false, None, None), None, false),
            (versions(false, None, None), Some(1), false),
            // Manifests count no generations.
            (versions(true, None, None), None, true),
            (versions(true, None, None), Some(1), false),
        ] {
            assert_eq!(versions.is_in_force(wanted), there, "{versions:?} {wanted:?}");
            let unsettled = Versions {
                settled: false,
                ..versions
            };
            assert!(!unsettled.is_in_force(wanted), "{versions:?}");
        }
    }
}

//! Keeps what the kernel knows of policies equal to the cluster: tells the compiler what changed, and carries out what it
//! plans. The pods' tables are the engine's; what a pod's rules are is always written before its sockets are known.

use std::{collections::BTreeSet, time::Duration};

use mesh_common::{decide::policy::Verdict, rules::SourceKey};

use super::capacity;
use crate::{
    datapath::loader::MapSizes,
    model::{
        cluster::{Cluster, Dirty},
        desired::PodKey,
        ledger::Ledger,
        policy::{
            Enforcement, Limits, Observed, Op, Passage,
            sources::{self, SourceOp},
        },
    },
};

/// The policies of the cluster, as this node enforces them.
pub struct Policies {
    enforcement: Enforcement,
    limits: Limits,
    /// What `SOURCES` holds.
    sources: BTreeSet<SourceKey>,
}

impl Policies {
    /// For tables that were never written.
    #[must_use]
    pub fn new(sizes: &MapSizes) -> Self {
        let limits = capacity::of_policies(sizes);
        Self {
            enforcement: Enforcement::new(limits),
            limits,
            sources: BTreeSet::new(),
        }
    }

    /// Goes on from what the tables hold.
    #[must_use]
    pub fn adopt(observed: &Observed, sources: BTreeSet<SourceKey>, sizes: &MapSizes) -> Self {
        let limits = capacity::of_policies(sizes);
        Self {
            enforcement: Enforcement::adopt(observed, limits),
            limits,
            sources,
        }
    }

    /// Starts over from what the tables hold, after a write that failed.
    pub fn readopt(&mut self, observed: &Observed, sources: BTreeSet<SourceKey>) {
        self.enforcement = Enforcement::adopt(observed, self.limits);
        self.sources = sources;
    }

    /// Takes in what changed. Pods come with [`Self::set_pod`].
    pub fn take_in(&mut self, cluster: &Cluster, dirty: &Dirty) {
        for name in &dirty.namespaces {
            self.enforcement
                .set_namespace(name, cluster.namespace_facts(name));
        }
        for name in &dirty.policies {
            self.enforcement.set_policy(name, cluster.policy(name));
        }
    }

    /// Takes in a pod as it is now, with the id that the ledger has for it.
    pub fn set_pod(&mut self, pod: &PodKey, cluster: &Cluster, ledger: &Ledger) {
        self.enforcement.set_pod(pod, cluster.policy_pod(pod));
        let local = cluster.local_enrolled_pod(pod).is_some();
        let workload = ledger.id_of(pod).filter(|_| local);
        self.enforcement.set_local(pod, workload);
    }

    /// The writes that follow from it, in order.
    pub fn plan(&mut self, now: Duration) -> Vec<Op> {
        self.enforcement.plan(now)
    }

    /// The writes after which the pods of this node may send from what their namespaces allow beside their own addresses.
    pub fn plan_sources(&mut self, cluster: &Cluster, ledger: &Ledger) -> Vec<SourceOp> {
        let allowed = cluster.local_enrolled().filter_map(|pod| {
            let prefixes = cluster.allowed_sources(&pod.key.object.namespace);
            Some((ledger.id_of(pod.key)?, prefixes))
        });
        let wanted = sources::wanted(allowed);
        let ops = sources::plan(&self.sources, &wanted);
        self.sources = wanted;
        ops
    }

    /// Whether something is to be written although nothing changed: what has rested goes.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.enforcement.next_due().is_some_and(|due| due <= now)
    }

    /// Whether no rule lets pass what an open connection does.
    #[must_use]
    pub fn deny(&self, passage: &Passage) -> bool {
        let Passage {
            pod,
            direction,
            ref other,
            protocol,
            port,
        } = *passage;
        let verdict = self
            .enforcement
            .verdict(pod, direction, other, protocol as u8, port.get());
        verdict == Some(Verdict::Denied)
    }

    /// What the kernel enforces.
    #[must_use]
    pub const fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }
}

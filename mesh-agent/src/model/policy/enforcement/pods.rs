//! Pods, whose addresses are whose, and which of them are on this node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mesh_common::addr::Addr;

use super::PodFacts;
use crate::model::desired::{ObjectName, PodKey};

/// A pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Pod {
    /// What is known of it; kept while it is on this node, since what its own rules are does not end with its object.
    pub(super) facts: Option<PodFacts>,
    /// Whether its object is there: only then its addresses are its own to others.
    pub(super) present: bool,
    /// Its workload id, if it is on this node.
    pub(super) workload: Option<u32>,
    /// The policies that select it, where it is on this node.
    pub(super) selecting: BTreeSet<ObjectName>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    pub(super) all: HashMap<PodKey, Pod>,
    pub(super) by_namespace: HashMap<Arc<str>, BTreeSet<PodKey>>,
    /// Who says that an address is its own.
    pub(super) claims: HashMap<Addr, Vec<PodKey>>,
    /// Which pod of this node has a workload id.
    pub(super) holders: BTreeMap<u32, PodKey>,
}

impl Pods {
    pub(super) fn get(&self, key: &PodKey) -> Option<&Pod> {
        self.all.get(key)
    }

    pub(super) fn entry(&mut self, key: &PodKey) -> &mut Pod {
        if !self.all.contains_key(key) {
            let namespace = self.by_namespace.entry(key.object.namespace.clone()).or_default();
            namespace.insert(key.clone());
        }
        self.all.entry(key.clone()).or_default()
    }

    /// Forgets a pod that is neither in the cluster nor on this node.
    pub(super) fn tidy(&mut self, key: &PodKey) {
        let over = |pod: &Pod| !pod.present && pod.workload.is_none();
        if !self.all.get(key).is_some_and(over) {
            return;
        }
        self.all.remove(key);
        if let Some(pods) = self.by_namespace.get_mut(&key.object.namespace) {
            pods.remove(key);
            if pods.is_empty() {
                self.by_namespace.remove(&key.object.namespace);
            }
        }
    }

    pub(super) fn claim(&mut self, addr: Addr, key: &PodKey) {
        let claims = self.claims.entry(addr).or_default();
        if !claims.contains(key) {
            claims.push(key.clone());
        }
    }

    pub(super) fn disclaim(&mut self, addr: Addr, key: &PodKey) {
        if let Some(claims) = self.claims.get_mut(&addr) {
            claims.retain(|it| it != key);
            if claims.is_empty() {
                self.claims.remove(&addr);
            }
        }
    }

    pub(super) fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = (&PodKey, &Pod)> {
        let keys = self.by_namespace.get(namespace).into_iter().flatten();
        keys.filter_map(|key| Some((key, self.all.get(key)?)))
    }
}

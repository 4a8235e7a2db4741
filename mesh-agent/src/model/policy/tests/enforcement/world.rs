//! A cluster that changes, the agent that follows it, and the kernel's tables.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_common::decide::policy as decide;
use mesh_common::policy::Direction;

use super::kernel::{Asked, Kernel, sorted};
use super::*;
use crate::model::desired::PodKey;

/// Room for everything.
pub(super) const PLENTY: Limits = Limits {
    rules: 1 << 20,
    classes: 1 << 16,
    cidrs: 1 << 16,
    pods: 1 << 10,
    rules_per_namespace: 1 << 20,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) namespaces: BTreeMap<Arc<str>, NamespaceFacts>,
    pub(super) pods: BTreeMap<PodKey, PodFacts>,
    /// Pods of this node, by workload id, with what was known of them last.
    pub(super) local: BTreeMap<u32, (PodKey, PodFacts)>,
    pub(super) policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
}

impl Facts {
    /// As the reading takes it; and the places of this node's pods in it. A pod that is gone from the cluster, but not
    /// from this node, has its own rules still, but no address to others.
    pub(super) fn cluster(&self) -> (Cluster, BTreeMap<u32, usize>) {
        let pod = |key: &PodKey, facts: &PodFacts| Pod {
            name: key.object.clone(),
            labels: facts.labels.clone(),
            addresses: facts.addresses.clone(),
            ports: facts.ports.clone(),
        };
        let mut pods: Vec<Pod> = self.pods.iter().map(|(key, facts)| pod(key, facts)).collect();
        let mut places = BTreeMap::new();
        for (&workload, (key, last)) in &self.local {
            let place = self.pods.keys().position(|it| it == key).unwrap_or_else(|| {
                pods.push(Pod {
                    addresses: vec![],
                    ..pod(key, last)
                });
                pods.len() - 1
            });
            places.insert(workload, place);
        }
        let namespaces = self.namespaces.iter();
        let cluster = Cluster {
            namespaces: namespaces
                .map(|(name, facts)| (name.clone(), facts.labels.clone()))
                .collect(),
            pods,
            policies: self.policies.clone(),
        };
        (cluster, places)
    }

    /// Tells an agent everything.
    pub(super) fn tell(&self, agent: &mut Enforcement) {
        for (workload, (key, facts)) in &self.local {
            agent.set_local(key, Some(*workload));
            // So that it knows what a pod was like that is gone by now.
            agent.set_pod(key, Some(facts.clone()));
            if !self.pods.contains_key(key) {
                agent.set_pod(key, None);
            }
        }
        for (key, facts) in &self.pods {
            agent.set_pod(key, Some(facts.clone()));
        }
        for (name, facts) in &self.namespaces {
            agent.set_namespace(name, Some(facts.clone()));
        }
        for (name, policy) in &self.policies {
            agent.set_policy(name, Some(policy.clone()));
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) facts: Facts,
    pub(super) agent: Enforcement,
    pub(super) kernel: Kernel,
    pub(super) limits: Limits,
    pub(super) now: Duration,
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            facts: Facts::default(),
            agent: Enforcement::new(limits),
            kernel: Kernel::default(),
            limits,
            now: Duration::ZERO,
        }
    }

    pub(super) fn namespace(&mut self, name: &str, facts: Option<NamespaceFacts>) {
        self.agent.set_namespace(name, facts.clone());
        match facts {
            Some(facts) => drop(self.facts.namespaces.insert(name.into(), facts)),
            None => drop(self.facts.namespaces.remove(name)),
        }
    }

    pub(super) fn pod(&mut self, key: &PodKey, facts: Option<PodFacts>) {
        self.agent.set_pod(key, facts.clone());
        match facts {
            Some(facts) => {
                let local = self.facts.local.values_mut().find(|(it, _)| it == key);
                if let Some((_, last)) = local {
                    last.clone_from(&facts);
                }
                self.facts.pods.insert(key.clone(), facts);
            }
            None => drop(self.facts.pods.remove(key)),
        }
    }

    /// Only pods that are known come to the node.
    pub(super) fn local(&mut self, key: &PodKey, workload: Option<u32>) {
        let known = self.facts.pods.get(key).cloned();
        let before = self
            .facts
            .local
            .values()
            .find(|(it, _)| it == key)
            .map(|(_, facts)| facts.clone());
        if workload.is_some() && known.is_none() {
            return;
        }
        self.agent.set_local(key, workload);
        self.facts.local.retain(|_, (it, _)| it != key);
        if let (Some(workload), Some(facts)) = (workload, known.or(before)) {
            self.facts.local.insert(workload, (key.clone(), facts));
        }
    }

    pub(super) fn policy(&mut self, name: &ObjectName, policy: Option<Arc<NetworkPolicy>>) {
        self.agent.set_policy(name, policy.clone());
        match policy {
            Some(policy) => drop(self.facts.policies.insert(name.clone(), policy)),
            None => drop(self.facts.policies.remove(name)),
        }
    }

    /// A new agent takes over, who knows all the facts.
    pub(super) fn restart(&mut self) {
        self.agent = Enforcement::adopt(&self.kernel.observed(), self.limits);
        self.facts.tell(&mut self.agent);
    }

    /// Plans and does everything.
    pub(super) fn plan(&mut self) -> Vec<Op> {
        let ops = self.agent.plan(self.now);
        self.kernel.apply_all(&ops);
        ops
    }

    /// Lets what rests go, until nothing is to be done any more.
    pub(super) fn come_to_rest(&mut self) {
        for _ in 0..10 {
            self.plan();
            match self.agent.next_due() {
                Some(due) => self.now = self.now.max(due),
                None => return,
            }
        }
        panic!("still due at {:?}, now {:?}", self.agent.next_due(), self.now);
    }

    /// What the tables hold is what the agent thinks they do, and what the policies say.
    pub(super) fn check(&self, asked: &[Asked]) -> Result<(), String> {
        let (expected, observed) = (sorted(self.agent.expected()), self.kernel.observed());
        if expected != observed {
            return Err(format!("expected {expected:?}\nobserved {observed:?}"));
        }
        self.check_classes()?;
        let (cluster, places) = self.facts.cluster();
        asked
            .iter()
            .try_for_each(|asked| self.check_one(&cluster, &places, asked))
    }

    fn check_classes(&self) -> Result<(), String> {
        for (workload, rules) in &self.kernel.pods {
            for addr in rules.addrs.iter().filter(|addr| **addr != Addr::default()) {
                let (own, all) = (rules.classes.towards(addr), self.kernel.class_of(addr));
                if own != all {
                    return Err(format!(
                        "{addr} of {workload}: class {own} to itself, {all} to others"
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_one(
        &self,
        cluster: &Cluster,
        places: &BTreeMap<u32, usize>,
        asked: &Asked,
    ) -> Result<(), String> {
        let said = self.kernel.judge(asked);
        let Asked {
            workload,
            direction,
            other,
            protocol,
            port,
        } = *asked;
        if self.agent.verdict(workload, direction, &other, protocol, port) != said {
            return Err(format!("{asked:?}: the agent does not know that it is {said:?}"));
        }
        let read = places.get(&workload).map(|&place| read(cluster, place, asked));
        let same = match (&read, said) {
            (None, None)
            | (Some(Side::Open), Some(decide::Verdict::Open))
            | (Some(Side::Isolated), Some(decide::Verdict::Denied)) => true,
            (Some(Side::Allowed(_)), Some(decide::Verdict::Allowed { rule })) => {
                let question = question(places[&workload], asked);
                let pod = &cluster.pods[places[&workload]];
                let mut rules = reference::allowing(cluster, pod, direction, other, &question);
                self.agent
                    .rule(rule)
                    .is_some_and(|rule| rules.any(|it| it == rule))
            }
            _ => false,
        };
        same.then_some(())
            .ok_or_else(|| format!("{asked:?}: read {read:?}, looked up {said:?}"))
    }

    /// All that can be said of some flows now, also by those who judge for the other end.
    pub(super) fn verdicts(&self, asked: &[Asked], sources: &BTreeSet<u32>) -> Vec<Option<Kind>> {
        let one = |asked: &Asked| {
            let direct = self.kernel.judge(asked);
            let seen_from = sources.iter().map(|&source| match asked.direction {
                Direction::Ingress => self.kernel.judge_seen_from(asked, source),
                Direction::Egress => None,
            });
            let all: Vec<_> = std::iter::once(direct).chain(seen_from).collect();
            all.into_iter()
                .map(|verdict| verdict.as_ref().map(std::mem::discriminant))
                .collect::<Vec<_>>()
        };
        asked.iter().flat_map(one).collect()
    }
}

pub(super) type Kind = std::mem::Discriminant<decide::Verdict>;

fn question(place: usize, asked: &Asked) -> Question {
    let pod = Party {
        pod: Some(place),
        addr: addr("192.0.2.254"),
    };
    let other = Party {
        pod: None,
        addr: asked.other,
    };
    let (from, to) = match asked.direction {
        Direction::Ingress => (other, pod),
        Direction::Egress => (pod, other),
    };
    Question {
        from: Source::Party(from),
        to,
        protocol: asked.protocol,
        port: asked.port,
    }
}

/// What the policies say.
pub(super) fn read(cluster: &Cluster, place: usize, asked: &Asked) -> Side {
    let verdict = reference::judge(cluster, &question(place, asked));
    match asked.direction {
        Direction::Ingress => verdict.ingress,
        Direction::Egress => verdict.egress,
    }
}

pub(super) fn key(text: &str) -> PodKey {
    PodKey {
        object: name(text),
        uid: text.into(),
    }
}

//! The kernel's tables, and the look-ups its programs do.

use std::collections::HashMap;

use mesh_common::addr::{Addr, Port};
use mesh_common::decide::policy as decide;
use mesh_common::policy::{ANYBODY, Direction, PolicyKey};
use mesh_common::rules::{CidrKey, PodRules};
use mesh_common::tag::{Tagged, hash_addr};

use crate::model::object::network_policy::Cidr;
use crate::model::policy::{Limits, Observed, Op};

#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    pub(super) rules: HashMap<PolicyKey, Tagged>,
    pub(super) classes: HashMap<Addr, Tagged>,
    pub(super) cidrs: HashMap<CidrKey, u32>,
    pub(super) pods: HashMap<u32, PodRules>,
    pub(super) generation: u32,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Asked {
    pub(super) workload: u32,
    pub(super) direction: Direction,
    pub(super) other: Addr,
    pub(super) protocol: u8,
    pub(super) port: u16,
}

impl Kernel {
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::SetRule { key, value } => drop(self.rules.insert(*key, *value)),
            Op::RemoveRule(key) => assert!(self.rules.remove(key).is_some(), "{op:?}"),
            Op::SetClass { addr, value } => drop(self.classes.insert(*addr, *value)),
            Op::RemoveClass(addr) => assert!(self.classes.remove(addr).is_some(), "{op:?}"),
            Op::SetCidr { prefix, class } => drop(self.cidrs.insert(*prefix, *class)),
            Op::RemoveCidr(prefix) => assert!(self.cidrs.remove(prefix).is_some(), "{op:?}"),
            Op::SetPodRules { workload, rules } => drop(self.pods.insert(*workload, *rules)),
            Op::RemovePodRules(workload) => assert!(self.pods.remove(workload).is_some(), "{op:?}"),
            Op::JudgeAgain => self.generation += 1,
        }
    }

    pub(super) fn apply_all(&mut self, ops: &[Op]) {
        for op in ops {
            self.apply(op);
        }
    }

    pub(super) fn holds(&self, limits: &Limits) -> bool {
        let fits = |entries: usize, limit: u32| entries <= limit as usize;
        fits(self.rules.len(), limits.rules)
            && fits(self.classes.len(), limits.classes)
            && fits(self.cidrs.len(), limits.cidrs)
            && fits(self.pods.len(), limits.pods)
    }

    pub(super) fn class_of(&self, addr: &Addr) -> u32 {
        let own = self
            .classes
            .get(addr)
            .filter(|value| value.belongs_to(hash_addr(addr)));
        if let Some(own) = own {
            return own.id();
        }
        let host = Cidr::host(addr);
        let by_prefix = |length: u8| {
            let prefix = host.shortened(length)?;
            let key = CidrKey {
                length: length.into(),
                addr: prefix.addr(),
            };
            self.cidrs.get(&key)
        };
        (0..=128).rev().find_map(by_prefix).copied().unwrap_or(ANYBODY)
    }

    /// As the destination's program, or the source's own, sees it.
    pub(super) fn judge(&self, asked: &Asked) -> Option<decide::Verdict> {
        self.judge_class(asked, self.class_of(&asked.other))
    }

    /// As the source's program judges for the destination: the source's class is that in its own entry.
    pub(super) fn judge_seen_from(&self, asked: &Asked, source: u32) -> Option<decide::Verdict> {
        let source = self
            .pods
            .get(&source)
            .filter(|rules| rules.addrs.contains(&asked.other))?;
        self.judge_class(asked, source.classes.towards(&asked.other))
    }

    fn judge_class(&self, asked: &Asked, peer: u32) -> Option<decide::Verdict> {
        let rules = self.pods.get(&asked.workload)?;
        assert!(rules.sets.belongs_to(asked.workload));
        let question = decide::Question {
            set: rules.sets.of(asked.direction),
            peer,
            protocol: asked.protocol,
            port: Port::new(asked.port),
        };
        let lookup = |key: &PolicyKey| {
            self.rules
                .get(key)
                .copied()
                .filter(|it| it.belongs_to(key.hash()))
        };
        Some(decide::judge(question, lookup))
    }

    pub(super) fn observed(&self) -> Observed {
        sorted(Observed {
            rules: self.rules.iter().map(|(key, value)| (*key, *value)).collect(),
            classes: self.classes.iter().map(|(key, value)| (*key, *value)).collect(),
            cidrs: self.cidrs.iter().map(|(key, value)| (*key, *value)).collect(),
            pods: self.pods.iter().map(|(key, value)| (*key, *value)).collect(),
        })
    }
}

pub(super) fn sorted(mut observed: Observed) -> Observed {
    observed
        .rules
        .sort_by_key(|(key, _)| (key.set, key.peer, key.protocol, key.port.get(), key.length));
    observed.classes.sort_by_key(|(addr, _)| *addr);
    observed.cidrs.sort_by_key(|(key, _)| *key);
    observed.pods.sort_by_key(|(workload, _)| *workload);
    observed
}

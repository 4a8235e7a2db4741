//! How much the kernel's tables hold, and what found no room.

use mesh_common::abi::{map, size};
use mesh_common::policy::Direction;
use thiserror::Error;

use super::Enforcement;
use super::sets::whole;
use crate::model::desired::PodKey;

/// Entries of the tables, as the maps were created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// `POLICY`: entries of all sets.
    pub rules: u32,
    /// `CLASSES`: addresses of pods.
    pub classes: u32,
    /// `CIDRS`: prefixes.
    pub cidrs: u32,
    /// `POD_RULES`: pods of this node.
    pub pods: u32,
    /// Entries that the sets in force of one namespace may take of [`Self::rules`].
    pub rules_per_namespace: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let rules = entries(size::POLICY);
        Self {
            rules,
            classes: entries(size::CLASSES),
            cidrs: entries(size::CIDRS),
            pods: entries(size::POD_RULES),
            rules_per_namespace: rules / 2,
        }
    }
}

/// The kernel counts entries in 32 bits.
fn entries(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Why a set is not in the table.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Shortage {
    /// The table is full.
    #[error("its rules need {needed} more entries of {}, {free} are free", map::POLICY)]
    Rules {
        /// Entries it needs.
        needed: usize,
        /// Entries that are free.
        free: usize,
    },
    /// The namespace has all it may have.
    #[error(
        "its rules need {needed} more entries of {}, {free} are left of the namespace's share",
        map::POLICY
    )]
    Quota {
        /// Entries it needs.
        needed: usize,
        /// Entries the namespace may still have.
        free: usize,
    },
    /// The prefixes of its address blocks found no room.
    #[error(
        "the address blocks in its rules find no room among the prefixes in {}",
        map::CIDRS
    )]
    Prefixes,
    /// All numbers of sets are in use.
    #[error("all numbers of rule sets are in use")]
    Numbers,
}

/// What found no room, and what that means.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Problem {
    /// Pods through which nothing passes in a direction.
    #[error(
        "namespace {namespace}: {pods} of its pods refuse all {}: {shortage}; {}",
        .direction.name(), next_step(.shortage)
    )]
    Closed {
        /// The namespace.
        namespace: String,
        /// The direction.
        direction: Direction,
        /// How many pods.
        pods: usize,
        /// What there is too little of.
        shortage: Shortage,
    },
    /// Addresses of pods that only rules for everybody, and for address blocks, apply to.
    #[error(
        "{addresses} addresses of pods find no room in {} ({capacity} entries): rules that select these pods do not let \
         them pass; start the agent with --map-size {}=ENTRIES, more than now",
        map::CLASSES,
        map::CLASSES
    )]
    Unclassed {
        /// How many.
        addresses: usize,
        /// Entries the table has.
        capacity: u32,
    },
    /// A pod whose rules are not in force.
    #[error(
        "pod {pod}: its rules find no room in {} ({capacity} entries), so that the fail mode of its namespace decides; \
         start the agent with --map-size {}=ENTRIES, more than now",
        map::POD_RULES,
        map::POD_RULES
    )]
    ShutOut {
        /// The pod.
        pod: PodKey,
        /// Entries the table has.
        capacity: u32,
    },
}

fn next_step(shortage: &Shortage) -> String {
    match shortage {
        Shortage::Rules { .. } => more(map::POLICY),
        Shortage::Quota { .. } => format!("name fewer peers or ports, or {}", more(map::POLICY)),
        Shortage::Prefixes => more(map::CIDRS),
        Shortage::Numbers => "let fewer different policies select the pods of this node".to_owned(),
    }
}

fn more(table: &str) -> String {
    format!("start the agent with --map-size {table}=ENTRIES, more than now")
}

impl Enforcement {
    /// What found no room. Each heals by itself when there is room again.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let closed = self.sets.closed.iter().filter_map(|(id, &shortage)| {
            let set = self.sets.all.get(id)?;
            Some(Problem::Closed {
                namespace: set.namespace.to_string(),
                direction: set.direction,
                pods: set.users,
                shortage,
            })
        });
        let unclassed = (!self.homeless.is_empty()).then_some(Problem::Unclassed {
            addresses: self.homeless.len(),
            capacity: self.limits.classes,
        });
        let shut_out = self.shut_out.iter().filter_map(|workload| {
            Some(Problem::ShutOut {
                pod: self.pods.holders.get(workload)?.clone(),
                capacity: self.limits.pods,
            })
        });
        closed.chain(unclassed).chain(shut_out).collect()
    }

    /// How many more entries `CLASSES` takes.
    pub(super) fn free_classes(&self) -> usize {
        whole(self.limits.classes).saturating_sub(self.classes.addresses())
    }

    /// How many more prefixes `CIDRS` takes.
    pub(super) fn free_prefixes(&self) -> usize {
        whole(self.limits.cidrs).saturating_sub(self.classes.prefixes)
    }
}

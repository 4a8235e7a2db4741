//! What `POD_RULES` holds of one pod.

use std::array;

use mesh_common::addr::Addr;
use mesh_common::rules::PodRules;

use super::Enforcement;
use super::PodFacts;
use super::classes::Classes;
use super::set::SetId;
use crate::model::desired::PodKey;
use crate::model::policy::Op;

/// A pod of this node with rules.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    /// Which one; `None` for one of a previous agent that was not heard of yet.
    pub(super) pod: Option<PodKey>,
    /// Its sets; `None` where no policy selects it.
    pub(super) sets: [Option<SetId>; 2],
    /// Their numbers in the table.
    pub(super) numbers: [u32; 2],
    pub(super) flags: u8,
    pub(super) classes: [u32; 2],
    /// IPv4 and IPv6; unspecified where it has none.
    pub(super) addrs: [Addr; 2],
    /// The value as found, where it is none that an agent writes.
    pub(super) found: Option<PodRules>,
}

impl Tenant {
    /// The value in the table.
    pub(super) fn rules(&self, workload: u32) -> PodRules {
        let made = PodRules::new(workload, self.numbers, self.flags, self.classes, self.addrs);
        self.found.unwrap_or(made)
    }

    pub(super) fn written(&self, workload: u32) -> Op {
        Op::SetPodRules {
            workload,
            rules: self.rules(workload),
        }
    }
}

/// The first address of each family.
pub(super) fn addresses(facts: &PodFacts) -> [Addr; 2] {
    let of_family = |v4: bool| facts.addresses.iter().copied().find(|addr| addr.is_v4() == v4);
    [true, false].map(|v4| of_family(v4).unwrap_or_default())
}

/// Their classes; where there is none, that of nobody in particular.
pub(super) fn classes(classes: &Classes, addrs: [Addr; 2]) -> [u32; 2] {
    array::from_fn(|at| {
        let addr = addrs[at];
        if addr == Addr::default() {
            0
        } else {
            classes.of(&addr)
        }
    })
}

impl Enforcement {
    /// Brings the classes in `POD_RULES` to what they are now.
    pub(super) fn refresh(&mut self, ops: &mut Vec<Op>) {
        for (&workload, tenant) in self
            .tenants
            .iter_mut()
            .filter(|(_, tenant)| tenant.found.is_none())
        {
            let now = classes(&self.classes, tenant.addrs);
            if now != tenant.classes {
                tenant.classes = now;
                ops.push(tenant.written(workload));
            }
        }
    }
}

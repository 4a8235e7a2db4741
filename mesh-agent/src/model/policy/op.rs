//! Single writes to the kernel's tables of policies, as data.

use mesh_common::abi::map;
use mesh_common::addr::Addr;
use mesh_common::policy::PolicyKey;
use mesh_common::rules::{CidrKey, PodRules};
use mesh_common::tag::Tagged;

/// One write. Each but the last is idempotent; the order of a plan is what keeps readers right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Op {
    /// `POLICY[key] = value`.
    SetRule {
        /// The key.
        key: PolicyKey,
        /// The value.
        value: Tagged,
    },
    /// Removes `POLICY[key]`.
    RemoveRule(PolicyKey),
    /// `CLASSES[addr] = value`.
    SetClass {
        /// The key.
        addr: Addr,
        /// Policy class, tagged.
        value: Tagged,
    },
    /// Removes `CLASSES[addr]`.
    RemoveClass(Addr),
    /// `CIDRS[prefix] = class`.
    SetCidr {
        /// The key.
        prefix: CidrKey,
        /// Policy class.
        class: u32,
    },
    /// Removes `CIDRS[prefix]`.
    RemoveCidr(CidrKey),
    /// `POD_RULES[workload] = rules`.
    SetPodRules {
        /// Workload id.
        workload: u32,
        /// The value.
        rules: PodRules,
    },
    /// Removes `POD_RULES[workload]`.
    RemovePodRules(u32),
    /// `CONFIG.policy += 1`: what was judged before is judged again.
    JudgeAgain,
}

impl Op {
    /// The map it writes.
    #[must_use]
    pub const fn map(&self) -> &'static str {
        match self {
            Self::SetRule { .. } | Self::RemoveRule(_) => map::POLICY,
            Self::SetClass { .. } | Self::RemoveClass(_) => map::CLASSES,
            Self::SetCidr { .. } | Self::RemoveCidr(_) => map::CIDRS,
            Self::SetPodRules { .. } | Self::RemovePodRules(_) => map::POD_RULES,
            Self::JudgeAgain => map::CONFIG,
        }
    }
}

/// What the tables of policies hold, as read back from the kernel.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Observed {
    /// `POLICY`.
    pub rules: Vec<(PolicyKey, Tagged)>,
    /// `CLASSES`.
    pub classes: Vec<(Addr, Tagged)>,
    /// `CIDRS`.
    pub cidrs: Vec<(CidrKey, u32)>,
    /// `POD_RULES`.
    pub pods: Vec<(u32, PodRules)>,
}

//! How much the kernel tables hold.

use std::fmt;

use mesh_common::abi::{map, size};

/// Entries of each table, as the maps were created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capacity {
    /// `SERVICES`: frontends.
    pub services: u32,
    /// `SERVICE_INFO`: service ids; id 0 is nobody's and counts.
    pub service_info: u32,
    /// `LB_TABLE`: slots.
    pub lb_table: u32,
    /// `BACKENDS`: backend ids; id 0 is nobody's and counts.
    pub backends: u32,
    /// `MEMBERS`: members.
    pub members: u32,
    /// `WORKLOADS`: addresses of pods.
    pub workloads: u32,
    /// `PODS`: network namespaces of this node.
    pub pods: u32,
    /// `PENDING_PODS`: cgroups of this node.
    pub pending_pods: u32,
}

impl Capacity {
    /// Entries of one table.
    #[must_use]
    pub const fn of(&self, table: Table) -> u32 {
        match table {
            Table::Services => self.services,
            Table::ServiceInfo => self.service_info,
            Table::LbTable => self.lb_table,
            Table::Backends => self.backends,
            Table::Members => self.members,
            Table::Workloads => self.workloads,
            Table::Pods => self.pods,
            Table::PendingPods => self.pending_pods,
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            services: entries(size::SERVICES),
            service_info: entries(size::SERVICE_INFO),
            lb_table: entries(size::LB_TABLE),
            backends: entries(size::BACKENDS),
            members: entries(size::MEMBERS),
            workloads: entries(size::WORKLOADS),
            pods: entries(size::PODS),
            pending_pods: entries(size::PENDING_PODS),
        }
    }
}

/// The kernel counts entries in 32 bits.
fn entries(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// A table that can be full.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Table {
    /// `SERVICES`.
    Services,
    /// `SERVICE_INFO`.
    ServiceInfo,
    /// `LB_TABLE`.
    LbTable,
    /// `BACKENDS`.
    Backends,
    /// `MEMBERS`.
    Members,
    /// `WORKLOADS`.
    Workloads,
    /// `PODS`.
    Pods,
    /// `PENDING_PODS`.
    PendingPods,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Services,
        Self::ServiceInfo,
        Self::LbTable,
        Self::Backends,
        Self::Members,
        Self::Workloads,
        Self::Pods,
        Self::PendingPods,
    ];

    /// The name of the map.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Services => map::SERVICES,
            Self::ServiceInfo => map::SERVICE_INFO,
            Self::LbTable => map::LB_TABLE,
            Self::Backends => map::BACKENDS,
            Self::Members => map::MEMBERS,
            Self::Workloads => map::WORKLOADS,
            Self::Pods => map::PODS,
            Self::PendingPods => map::PENDING_PODS,
        }
    }

    /// What an entry is called: one, and several.
    const fn unit(self) -> (&'static str, &'static str) {
        match self {
            Self::Services => ("frontend", "frontends"),
            Self::ServiceInfo => ("service id", "service ids"),
            Self::LbTable => ("slot", "slots"),
            Self::Backends => ("backend", "backends"),
            Self::Members => ("member", "members"),
            Self::Workloads => ("address", "addresses"),
            Self::Pods => ("pod", "pods"),
            Self::PendingPods => ("pending pod", "pending pods"),
        }
    }

    /// A number of entries in words, such as `1,048,576 slots`.
    #[must_use]
    pub fn amount(self, number: u32) -> String {
        let (one, several) = self.unit();
        let unit = if number == 1 { one } else { several };
        format!("{} {unit}", Grouped(number))
    }
}

/// A number with a comma after every three digits.
pub(super) struct Grouped(pub(super) u32);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        let texts = [0, 1, 999, 1_000, 1_048_576].map(|number| Table::LbTable.amount(number));
        assert_eq!(
            texts,
            ["0 slots", "1 slot", "999 slots", "1,000 slots", "1,048,576 slots"]
        );
    }
}

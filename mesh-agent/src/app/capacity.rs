//! How much the tables hold, from the sizes their maps were asked for with.

use mesh_common::abi::map;

use crate::{
    datapath::loader::{MapSizes, size_of},
    model::{ledger::Capacity, policy::Limits},
};

/// One namespace may fill this part of the table of rules.
const NAMESPACES_AT_LEAST: u32 = 4;

/// Room for services and pods.
#[must_use]
pub fn of_ledger(sizes: &MapSizes) -> Capacity {
    let of = |name| size_of(name, sizes);
    Capacity {
        services: of(map::SERVICES),
        service_info: of(map::SERVICE_INFO),
        lb_table: of(map::LB_TABLE),
        backends: of(map::BACKENDS),
        members: of(map::MEMBERS),
        workloads: of(map::WORKLOADS),
        pods: of(map::PODS),
        pending_pods: of(map::PENDING_PODS),
    }
}

/// Room for policies.
#[must_use]
pub fn of_policies(sizes: &MapSizes) -> Limits {
    let of = |name| size_of(name, sizes);
    let rules = of(map::POLICY);
    Limits {
        rules,
        classes: of(map::CLASSES),
        cidrs: of(map::CIDRS),
        pods: of(map::POD_RULES),
        rules_per_namespace: (rules / NAMESPACES_AT_LEAST).max(1),
    }
}

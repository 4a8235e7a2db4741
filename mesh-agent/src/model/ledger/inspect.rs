//! Names for the numbers in the tables.

use super::{Ledger, capacity::Table};
use crate::model::desired::{Endpoint, ObjectName, PodKey, PortKey};

impl Ledger {
    /// The Service, port and name of the port that a service id is for. Nothing for an id that no Service
    /// has: one a previous agent left, or one that lasts only until its frontends are handed over.
    #[must_use]
    pub fn service(&self, id: u32) -> Option<(&ObjectName, PortKey, &str)> {
        let owner = self.services.by_id.get(&id)?.owner.as_ref()?;
        Some((&owner.name, owner.port, &owner.port_name))
    }

    /// The endpoint that a backend id is for, or was for while the id rests.
    #[must_use]
    pub fn backend(&self, id: u32) -> Option<Endpoint> {
        self.endpoints.endpoint(id)
    }

    /// The pod that a workload id is for, or was for while the id rests.
    #[must_use]
    pub fn workload(&self, id: u32) -> Option<&PodKey> {
        self.endpoints.pods.ids.key(id)
    }

    /// The workload id of a pod; `None` before it has one.
    #[must_use]
    pub fn id_of(&self, pod: &PodKey) -> Option<u32> {
        let held = self.workloads.pods.get(pod)?;
        (held.id != 0).then_some(held.id)
    }

    /// Every service id that a Service has.
    pub fn services(&self) -> impl Iterator<Item = (u32, &ObjectName, PortKey, &str)> {
        self.services.by_id.iter().filter_map(|(&id, service)| {
            let owner = service.owner.as_ref()?;
            Some((id, &owner.name, owner.port, owner.port_name.as_str()))
        })
    }

    /// Every workload id that is in use.
    pub fn workloads(&self) -> impl Iterator<Item = (u32, &PodKey)> {
        self.endpoints.pods.ids.in_use()
    }

    /// How full each table is: name, entries, capacity.
    #[must_use]
    pub fn usage(&self) -> Vec<(&'static str, u32, u32)> {
        let slots = self
            .services
            .by_id
            .values()
            .map(|service| service.info.region.len())
            .sum();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let hash = |table| self.capacity.of(table) - self.room(table);
        let used = |table| match table {
            Table::LbTable => slots,
            Table::ServiceInfo => count(self.services.by_id.len()),
            Table::Backends => count(self.endpoints.ids.in_use().count()),
            Table::Services | Table::Members | Table::Workloads | Table::Pods | Table::PendingPods => {
                hash(table)
            }
        };
        Table::ALL
            .into_iter()
            .map(|table| (table.name(), used(table), self.capacity.of(table)))
            .collect()
    }
}

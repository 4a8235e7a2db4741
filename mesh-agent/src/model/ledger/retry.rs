//! Room, and what to plan again when there is some.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Ledger;
use super::capacity::Table;
use super::refusal::{Reason, Refusal};
use crate::model::desired::{ObjectName, PodKey};

impl Ledger {
    /// The Services of which something is refused that might fit now: plan them again. Cheap where nothing
    /// is refused; ask after every few plans and every second or so.
    pub fn refused_services(&mut self, now: Duration) -> Vec<ObjectName> {
        let refused = std::mem::take(&mut self.refused.services);
        let ready = self.may_fit_now(&refused, now);
        self.refused.services = refused;
        ready
    }

    /// The pods of which something is refused that might fit now: plan them again.
    pub fn refused_workloads(&mut self, now: Duration) -> Vec<PodKey> {
        let refused = std::mem::take(&mut self.refused.pods);
        let ready = self.may_fit_now(&refused, now);
        self.refused.pods = refused;
        ready
    }

    /// All that is refused at present.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        let services = self.refused.services.values();
        services.chain(self.refused.pods.values()).flatten()
    }

    /// Entries a hash table can take now.
    pub(super) fn room(&self, table: Table) -> u32 {
        let held = match table {
            Table::Services => self.services.frontends.len(),
            Table::Members => self.services.members,
            Table::Workloads => self.workloads.addresses.len(),
            Table::Pods => self.workloads.netns.len(),
            Table::PendingPods => self.workloads.pending.len(),
            // Arrays are given out by id and region.
            Table::ServiceInfo | Table::LbTable | Table::Backends => 0,
        };
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        self.capacity.of(table).saturating_sub(held)
    }

    /// The refusal of a table without room.
    pub(super) fn full(&self, table: Table, needed: u32, free: u32, resting: u32) -> Reason {
        Reason::Full {
            table,
            needed,
            capacity: self.capacity.of(table),
            free,
            resting: resting > 0 && free.saturating_add(resting) >= needed,
        }
    }

    fn may_fit_now<K: Clone>(&mut self, refused: &BTreeMap<K, Vec<Refusal>>, now: Duration) -> Vec<K> {
        let ready = refused.iter().filter(|(_, refusals)| {
            let mut reasons = refusals.iter().map(|refusal| &refusal.reason);
            reasons.any(|reason| self.may_fit(reason, now))
        });
        ready.map(|(key, _)| key.clone()).collect()
    }

    fn may_fit(&mut self, reason: &Reason, now: Duration) -> bool {
        match reason {
            Reason::Held { frontend, .. } | Reason::Inherited(frontend) => {
                self.services.frontends.is_free(frontend)
            }
            Reason::NoWorkloadId => self.endpoints.pods.ids.free(now) > 0,
            Reason::Full { table, needed, .. } => match table {
                Table::ServiceInfo => self.services.ids.free(now) > 0,
                Table::LbTable => self.regions.fits(*needed, now),
                // Fewer may do by now: another service may have brought some of the endpoints.
                Table::Backends => self.endpoints.ids.free(now) > 0,
                Table::Services | Table::Members | Table::Workloads | Table::Pods | Table::PendingPods => {
                    self.room(*table) >= *needed
                }
            },
        }
    }
}

//! What the kernel should hold now.

use mesh_common::tag::Tagged;

use super::Ledger;
use super::services::Service;
use crate::model::op::Observed;

impl Ledger {
    /// What the kernel holds when every planned write was carried out, sorted; without what a previous agent
    /// left that makes no sense.
    #[must_use]
    pub fn expected(&self) -> Observed {
        let mut frontends: Vec<_> = self
            .services
            .frontends
            .sound()
            .map(|(frontend, id)| (frontend, Tagged::new(id, 0, frontend.hash())))
            .collect();
        frontends.sort_unstable_by_key(|&(frontend, _)| frontend);

        let reachable = || {
            let services = self.services.by_id.iter();
            services.filter(|(_, service)| !service.frontends.is_empty())
        };
        let sound = || reachable().filter(|(_, service)| service.sound);
        let mut regions: Vec<_> = sound()
            .filter_map(|(&id, service)| {
                let slots = Service::tagged_slots(id, &service.slots);
                Some((service.block?.offset, slots))
            })
            .collect();
        regions.sort_unstable_by_key(|&(offset, _)| offset);

        let mut backends: Vec<u32> = sound()
            .flat_map(|(_, service)| service.slots.iter().copied())
            .collect();
        backends.sort_unstable();
        backends.dedup();
        let record = |id: u32| Some((id, *self.endpoints.ids.key(id)?));

        let members = self.services.by_id.iter();
        Observed {
            frontends,
            services: reachable().map(|(&id, service)| (id, service.info)).collect(),
            regions,
            backends: backends.into_iter().filter_map(record).collect(),
            members: members
                .flat_map(|(&id, service)| service.tagged_members(id))
                .collect(),
            workloads: self.workloads.addresses.entries(),
            pods: self.workloads.netns.entries(),
            pending: self.workloads.pending.entries(),
            touched: None,
        }
    }
}

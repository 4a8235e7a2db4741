//! The services in the tables of a previous agent, as far as they make sense.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_common::service::{Backend, Frontend, Region, ServiceInfo, Slot};
use mesh_common::tag::Tagged;

use super::buddy::Block;
use super::capacity::Capacity;
use super::frontends::{Frontends, State};
use super::regions::Regions;
use super::services::{Heir, Service, Services};
use crate::model::op::Observed;

/// What there is, without owners.
pub(super) struct Found {
    pub(super) services: BTreeMap<u32, Service>,
    pub(super) frontends: Frontends,
}

impl Found {
    /// Reads the tables and reserves the regions in use.
    pub(super) fn read(observed: &Observed, capacity: &Capacity, regions: &mut Regions) -> Self {
        let mut services = reachable(observed, capacity);
        let mut frontends = Frontends::default();
        for &(frontend, value) in &observed.frontends {
            let service = services
                .get_mut(&value.id())
                .filter(|_| is_sound(&frontend, value));
            let id = if let Some(service) = service {
                service.frontends.insert(frontend);
                value.id()
            } else {
                0
            };
            frontends.set(frontend, id, State::Adopted);
        }

        let tables = Tables::of(observed, capacity);
        for (&id, service) in &mut services {
            tables.read_slots(id, service, regions);
        }
        // The members of a service that no frontend leads to any more are still to be removed.
        for member in &observed.members {
            let service = services.entry(member.service).or_default();
            service.members.insert(member.backend);
        }
        for service in services.values_mut() {
            let members = service.members.iter().copied();
            let held: BTreeSet<u32> = service.holds.drain(..).chain(members).collect();
            service.holds = held.into_iter().filter(|id| tables.is_backend(*id)).collect();
        }
        Self { services, frontends }
    }
}

impl Found {
    /// After a write failed: whose each service is, as far as the ledger knew.
    pub(super) fn inherit_owners(&mut self, old: &Services) {
        for (id, service) in &mut self.services {
            service.heir = match old.by_id.get(id).map(|old| (&old.owner, &old.heir)) {
                Some((Some(owner), _)) => Heir::Former(owner.name.clone(), owner.port),
                Some((None, heir)) => heir.clone(),
                None => Heir::Nobody,
            };
        }
    }
}

/// The services that have a frontend and a record.
fn reachable(observed: &Observed, capacity: &Capacity) -> BTreeMap<u32, Service> {
    let infos: HashMap<u32, ServiceInfo> = observed.services.iter().copied().collect();
    let ids = observed
        .frontends
        .iter()
        .filter(|(frontend, value)| is_sound(frontend, *value))
        .map(|(_, value)| value.id())
        .filter(|id| (1..capacity.service_info).contains(id));
    ids.filter_map(|id| {
        let service = Service {
            info: *infos.get(&id)?,
            heir: Heir::Unknown,
            ..Service::default()
        };
        Some((id, service))
    })
    .collect()
}

fn is_sound(frontend: &Frontend, value: Tagged) -> bool {
    value == Tagged::new(value.id(), 0, frontend.hash())
}

/// The arrays.
struct Tables<'a> {
    capacity: &'a Capacity,
    slots: HashMap<u32, &'a [Slot]>,
    backends: HashMap<u32, Backend>,
}

impl<'a> Tables<'a> {
    fn of(observed: &'a Observed, capacity: &'a Capacity) -> Self {
        let mut slots: HashMap<u32, &[Slot]> = HashMap::new();
        for (offset, found) in &observed.regions {
            let known = slots.entry(*offset).or_default();
            if known.len() < found.len() {
                *known = found;
            }
        }
        Self {
            capacity,
            slots,
            backends: observed.backends.iter().copied().collect(),
        }
    }

    /// Takes over the slots of a service if they are all there and all right. If not, it still refers to the
    /// backends that its readers can reach, so that those ids are not used for something else meanwhile.
    fn read_slots(&self, id: u32, service: &mut Service, regions: &mut Regions) {
        let region = service.info.region;
        let found = self.slots.get(&region.offset()).copied().unwrap_or_default();
        let found = &found[..found.len().min(region.len() as usize)];
        let own = found
            .iter()
            .filter(|slot| slot.service == id && self.backends.contains_key(&slot.backend))
            .map(|slot| slot.backend)
            .filter(|&backend| self.is_backend(backend));
        let slots: Vec<u32> = own.collect();
        service.holds.clone_from(&slots);
        if slots.len() != region.len() as usize || !self.is_well_formed(region) {
            return;
        }
        if region.is_empty() {
            service.sound = true;
            return;
        }
        let block = Block::holding(region.offset(), region.len());
        if regions.reserve(block) {
            service.block = Some(block);
            service.slots = slots;
            service.sound = true;
        }
    }

    fn is_well_formed(&self, region: Region) -> bool {
        let (offset, len) = (region.offset(), region.len());
        let end = offset.checked_add(len);
        region == Region::new(offset, len, region.algorithm())
            && end.is_some_and(|end| end <= self.capacity.lb_table)
            && (len > 0 || offset == 0)
    }

    fn is_backend(&self, id: u32) -> bool {
        (1..self.capacity.backends).contains(&id)
    }
}

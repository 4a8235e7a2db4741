//! Taking what a port needs and putting it in place.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_common::addr::Protocol;
use mesh_common::service::{Algorithm, Member, ServiceInfo};

use super::Ledger;
use super::buddy::Block;
use super::capacity::Table;
use super::draft::Draft;
use super::endpoints::NoRoom;
use super::port::Port;
use super::refusal::Reason;
use super::services::{Service, region};
use crate::model::desired::ServicePort;
use crate::model::maglev;
use crate::model::op::Op;

/// All that a port needs, taken and not yet written.
pub(super) struct Staged {
    backends: Vec<u32>,
    /// New slots, where the ones it has do not serve.
    slots: Option<NewSlots>,
    members: BTreeSet<u32>,
}

/// Slots and where to write them; nowhere if there are none.
struct NewSlots {
    block: Option<Block>,
    backends: Vec<u32>,
}

impl Ledger {
    /// Takes what the port needs, all of it or nothing.
    pub(super) fn stage(&mut self, port: Port<'_>, id: Option<u32>, now: Duration) -> Result<Staged, Reason> {
        let backends = self
            .endpoints
            .take_all(&port.desired.endpoints, now)
            .map_err(|no_room| self.no_backends(no_room, port, now))?;
        let staged = self
            .stage_members(port, id, &backends)
            .and_then(|members| Ok((members, self.stage_slots(port, id, &backends, now)?)));
        match staged {
            Ok((members, slots)) => Ok(Staged {
                backends,
                slots,
                members,
            }),
            Err(reason) => {
                self.endpoints.cancel_all(&backends, now);
                Err(reason)
            }
        }
    }

    fn stage_members(
        &self,
        port: Port<'_>,
        id: Option<u32>,
        backends: &[u32],
    ) -> Result<BTreeSet<u32>, Reason> {
        if port.desired.affinity_seconds == 0 && port.key.protocol != Protocol::Udp {
            return Ok(BTreeSet::new());
        }
        let members: BTreeSet<u32> = backends.iter().copied().collect();
        let former = id.and_then(|id| self.services.by_id.get(&id));
        let new = former.map_or(members.len(), |service| {
            members.difference(&service.members).count()
        });
        let needed = u32::try_from(new).unwrap_or(u32::MAX);
        let room = self.room(Table::Members);
        if needed <= room {
            Ok(members)
        } else {
            Err(self.full(Table::Members, needed, room, 0))
        }
    }

    fn stage_slots(
        &mut self,
        port: Port<'_>,
        id: Option<u32>,
        backends: &[u32],
        now: Duration,
    ) -> Result<Option<NewSlots>, Reason> {
        let algorithm = port.desired.algorithm;
        let former = id.and_then(|id| self.services.by_id.get(&id));
        if former.is_some_and(|service| service.was_made_from(backends, algorithm)) {
            return Ok(None);
        }
        let backends = slots(port.desired, backends);
        if former.is_some_and(|service| service.serves(&backends, algorithm)) {
            return Ok(None);
        }
        if backends.is_empty() {
            let block = None;
            return Ok(Some(NewSlots { block, backends }));
        }
        let needed = u32::try_from(backends.len()).unwrap_or(u32::MAX);
        let Ok(block) = self.regions.take(needed, now) else {
            let (free, resting) = (self.regions.free(now), self.regions.resting(now));
            return Err(self.full(Table::LbTable, needed, free, resting));
        };
        let block = Some(block);
        Ok(Some(NewSlots { block, backends }))
    }

    /// Puts the new state in place of the old one, which begins to rest.
    pub(super) fn commit(
        &mut self,
        port: Port<'_>,
        id: Option<u32>,
        staged: Staged,
        draft: &mut Draft,
        now: Duration,
    ) -> Result<u32, Reason> {
        let taken = match id {
            Some(id) => Ok(id),
            None => self.services.ids.take(now),
        };
        let Ok(id) = taken else {
            return Err(self.give_up(staged, now));
        };
        let known = self.services.by_id.contains_key(&id);
        let service = self.services.by_id.entry(id).or_default();

        self.endpoints.publish(&staged.backends, &mut draft.ops);
        self.endpoints.release_all(&service.holds, now);
        service.holds.clone_from(&staged.backends);

        let mut info = ServiceInfo {
            region: service.info.region,
            affinity_seconds: port.desired.affinity_seconds,
            reserved: 0,
        };
        if let Some(NewSlots { block, backends }) = staged.slots {
            info.region = region(block, backends.len(), port.desired.algorithm);
            draft.ops.extend(block.map(|Block { offset, .. }| {
                let slots = Service::tagged_slots(id, &backends);
                Op::SetSlots { offset, slots }
            }));
            if let Some(former) = std::mem::replace(&mut service.block, block) {
                self.regions.rest(former, now);
            }
            service.slots = backends;
            service.sound = true;
        }
        service.backends = Some(staged.backends);
        if !known || info != service.info {
            draft.ops.push(Op::SetServiceInfo { id, info });
            service.info = info;
        }

        let former = std::mem::replace(&mut service.members, staged.members);
        let member = |&backend| Member { service: id, backend };
        let added = service.members.difference(&former).map(member);
        let removed = former.difference(&service.members).map(member);
        self.services.members += added.clone().count();
        draft.removed_members += removed.clone().count();
        draft.ops.extend(added.map(Op::AddMember));
        draft.ops.extend(removed.map(Op::RemoveMember));
        Ok(id)
    }

    /// Gives back what was staged for a service that gets no id.
    fn give_up(&mut self, staged: Staged, now: Duration) -> Reason {
        self.endpoints.cancel_all(&staged.backends, now);
        if let Some(block) = staged.slots.and_then(|slots| slots.block) {
            self.regions.put_back(block);
        }
        let resting = self.services.ids.resting(now);
        self.full(Table::ServiceInfo, 1, 0, resting)
    }

    fn no_backends(&mut self, no_room: NoRoom, port: Port<'_>, now: Duration) -> Reason {
        match no_room {
            NoRoom::Workloads => Reason::NoWorkloadId,
            NoRoom::Backends => {
                let needed = self.endpoints.missing(&port.desired.endpoints, now);
                let (free, resting) = (self.endpoints.ids.free(now), self.endpoints.ids.resting(now));
                self.full(Table::Backends, needed, free, resting)
            }
        }
    }
}

/// The backend of each slot.
fn slots(desired: &ServicePort, backends: &[u32]) -> Vec<u32> {
    match desired.algorithm {
        Algorithm::Random => backends.to_vec(),
        Algorithm::Maglev => {
            let endpoints = desired.endpoints.iter();
            let endpoints: Vec<_> = endpoints.map(|endpoint| (endpoint.addr, endpoint.port)).collect();
            let owners = maglev::table(&endpoints);
            owners.into_iter().map(|at| backends[at as usize]).collect()
        }
    }
}

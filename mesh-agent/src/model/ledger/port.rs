//! Planning one port of a Service: its frontends, then its backends and slots.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_common::addr::Protocol;
use mesh_common::service::{Algorithm, Frontend, Member, ServiceInfo};
use mesh_common::tag::Tagged;

use super::Ledger;
use super::buddy::Block;
use super::capacity::Table;
use super::draft::Draft;
use super::endpoints::NoRoom;
use super::frontends::State;
use super::refusal::{Part, Reason};
use super::regions::NoRegion;
use super::services::{Owner, Service, region};
use crate::model::desired::{ObjectName, PortKey, ServicePort};
use crate::model::maglev;
use crate::model::op::Op;

/// One port to plan.
#[derive(Clone, Copy)]
pub(super) struct Port<'a> {
    pub(super) name: &'a ObjectName,
    pub(super) key: PortKey,
    pub(super) desired: &'a ServicePort,
    /// The id it has had so far.
    pub(super) id: Option<u32>,
}

impl Port<'_> {
    fn is_heir_of(&self, service: &Service) -> bool {
        service.is_heir(self.name, self.key, &self.desired.frontends)
    }
}

/// All that a port needs, taken and not yet written.
struct Staged {
    backends: Vec<u32>,
    /// New slots, where the ones it has do not serve.
    slots: Option<(Option<Block>, Vec<u32>)>,
    members: BTreeSet<u32>,
}

impl Ledger {
    /// Plans a port; the id it has now.
    pub(super) fn plan_port(&mut self, port: Port<'_>, draft: &mut Draft, now: Duration) -> Option<u32> {
        let granted = self.grant(port, draft);
        if granted.is_empty() {
            return None;
        }
        let id = port.id.or_else(|| self.inherited(port));
        let planned = self
            .stage(port, id, now)
            .and_then(|staged| self.commit(port, id, staged, draft, now));
        let id = match (planned, id) {
            (Ok(id), _) => id,
            (Err(reason), Some(id)) => {
                draft.refuse(Part::Port(port.key), reason, true);
                id
            }
            (Err(reason), None) => {
                draft.refuse(Part::Port(port.key), reason, false);
                return None;
            }
        };
        self.own(port, id, draft);
        for frontend in granted {
            self.point(frontend, id, draft);
        }
        Some(id)
    }

    /// The frontends the port can have. Those it cannot are refused and, where another holds them, waited for.
    fn grant(&mut self, port: Port<'_>, draft: &mut Draft) -> Vec<Frontend> {
        let mut room = self.room(Table::Services);
        let mut granted = Vec::new();
        for &frontend in &port.desired.frontends {
            let refusal = match self.holder(&frontend, port) {
                Some(reason) => {
                    self.services.frontends.wait(frontend, port.name);
                    Some(reason)
                }
                None if self.services.frontends.get(&frontend).is_some() => None,
                None if room == 0 => Some(self.full(Table::Services, 1, 0, 0)),
                None => {
                    room -= 1;
                    None
                }
            };
            match refusal {
                Some(reason) => draft.refuse(Part::Frontend(port.key, frontend), reason, false),
                None => granted.push(frontend),
            }
        }
        granted
    }

    /// Why the port cannot have a frontend that the kernel has already.
    fn holder(&self, frontend: &Frontend, port: Port<'_>) -> Option<Reason> {
        let entry = self.services.frontends.get(frontend)?;
        let service = self.services.by_id.get(&entry.service)?;
        match (entry.state, &service.owner) {
            (State::Claimed, Some(owner)) => Some(Reason::Held {
                frontend: *frontend,
                holder: owner.name.clone(),
                port: owner.port,
            }),
            (State::Adopted, _) if !port.is_heir_of(service) => Some(Reason::Inherited(*frontend)),
            _ => None,
        }
    }

    /// The id that a previous agent had for the port.
    fn inherited(&self, port: Port<'_>) -> Option<u32> {
        let frontends = port.desired.frontends.iter();
        let entries = frontends.filter_map(|frontend| self.services.frontends.get(frontend));
        let adopted = entries.filter(|entry| entry.state == State::Adopted);
        let ids = adopted.map(|entry| entry.service);
        ids.filter(|id| {
            self.services
                .by_id
                .get(id)
                .is_some_and(|service| port.is_heir_of(service))
        })
        .min()
    }

    /// Makes the port the owner of an id. Frontends that still lead there are its own to let go.
    fn own(&mut self, port: Port<'_>, id: u32, draft: &mut Draft) {
        let Some(service) = self.services.by_id.get_mut(&id) else {
            return;
        };
        service.owner = Some(Owner {
            name: port.name.clone(),
            port: port.key,
            port_name: port.desired.port_name.clone(),
        });
        for frontend in &service.frontends {
            self.services.frontends.let_go(frontend);
        }
        draft.touched_frontends.extend(&service.frontends);
    }

    /// Takes what the port needs, all of it or nothing.
    fn stage(&mut self, port: Port<'_>, id: Option<u32>, now: Duration) -> Result<Staged, Reason> {
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
    ) -> Result<Option<(Option<Block>, Vec<u32>)>, Reason> {
        let algorithm = port.desired.algorithm;
        let former = id.and_then(|id| self.services.by_id.get(&id));
        if former.is_some_and(|service| service.was_made_from(backends, algorithm)) {
            return Ok(None);
        }
        let slots = slots(port.desired, backends);
        if former.is_some_and(|service| service.serves(&slots, algorithm)) {
            return Ok(None);
        }
        if slots.is_empty() {
            return Ok(Some((None, slots)));
        }
        let needed = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        match self.regions.take(needed, now) {
            Ok(block) => Ok(Some((Some(block), slots))),
            Err(NoRegion) => {
                let (free, resting) = (self.regions.free(now), self.regions.resting(now));
                Err(self.full(Table::LbTable, needed, free, resting))
            }
        }
    }

    /// Puts the new state in place of the old one, which begins to rest.
    fn commit(
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

        let algorithm = port.desired.algorithm;
        let mut region_now = service.info.region;
        if let Some((block, slots)) = staged.slots {
            region_now = region(block, slots.len(), algorithm);
            if let Some(block) = block {
                let offset = block.offset;
                let slots = Service::tagged_slots(id, &slots);
                draft.ops.push(Op::SetSlots { offset, slots });
            }
            if let Some(former) = std::mem::replace(&mut service.block, block) {
                self.regions.rest(former, now);
            }
            service.slots = slots;
            service.sound = true;
        }
        service.backends = Some(staged.backends);

        let info = ServiceInfo {
            region: region_now,
            affinity_seconds: port.desired.affinity_seconds,
            reserved: 0,
        };
        if !known || info != service.info {
            draft.ops.push(Op::SetServiceInfo { id, info });
            service.info = info;
        }

        let member = |&backend| Member { service: id, backend };
        let kept = staged.members.intersection(&service.members).count();
        self.services.members += staged.members.len() - kept;
        draft.removed_members += service.members.len() - kept;
        let added = staged.members.difference(&service.members);
        draft.ops.extend(added.map(member).map(Op::AddMember));
        let removed = service.members.difference(&staged.members);
        draft.ops.extend(removed.map(member).map(Op::RemoveMember));
        service.members = staged.members;
        Ok(id)
    }

    /// Gives back what was staged for a service that gets no id.
    fn give_up(&mut self, staged: Staged, now: Duration) -> Reason {
        self.endpoints.cancel_all(&staged.backends, now);
        if let Some((Some(block), _)) = staged.slots {
            self.regions.put_back(block);
        }
        let resting = self.services.ids.resting(now);
        self.full(Table::ServiceInfo, 1, 0, resting)
    }

    /// Lets a frontend lead to a service id.
    fn point(&mut self, frontend: Frontend, id: u32, draft: &mut Draft) {
        let former = self.services.frontends.set(frontend, id, State::Claimed);
        if former == Some(id) {
            return;
        }
        let value = Tagged::new(id, 0, frontend.hash());
        draft.ops.push(Op::SetFrontend { frontend, value });
        if let Some(former) = former
            && let Some(service) = self.services.by_id.get_mut(&former)
        {
            service.frontends.remove(&frontend);
            draft.touched_services.insert(former);
        }
        if let Some(service) = self.services.by_id.get_mut(&id) {
            service.frontends.insert(frontend);
        }
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

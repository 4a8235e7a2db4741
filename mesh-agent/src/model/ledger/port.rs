//! Planning one port of a Service: which frontends it can have, and where they lead.

use std::time::Duration;

use mesh_common::service::Frontend;
use mesh_common::tag::Tagged;

use super::Ledger;
use super::capacity::Table;
use super::draft::Draft;
use super::frontends::State;
use super::refusal::{Part, Reason};
use super::services::{Owner, Service};
use crate::model::desired::{ObjectName, PortKey, ServicePort};
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
}

//! Planning a Service.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Ledger;
use super::draft::Draft;
use super::plan::Plan;
use super::port::Port;
use super::refusal::{Object, Reason};
use super::refused::remember;
use super::services::Heir;
use crate::model::desired::{ObjectName, PortKey, ServicePorts};
use crate::model::op::Op;

impl Ledger {
    /// The writes after which the kernel holds just this of a Service; `None` where the Service is gone.
    ///
    /// Planning the same again yields no writes.
    pub fn plan_service(&mut self, name: &ObjectName, ports: Option<&ServicePorts>, now: Duration) -> Plan {
        let mut draft = Draft::new(Object::Service(name.clone()));
        self.stop_waiting(name, &mut draft);
        let former = self.services.names.remove(name).unwrap_or_default();
        self.let_go(&former, &mut draft);

        let mut ids = BTreeMap::new();
        for (&key, desired) in ports.into_iter().flatten() {
            let port = Port {
                name,
                key,
                desired,
                id: former.get(&key).copied(),
            };
            draft.touched_frontends.extend(&desired.frontends);
            if let Some(id) = self.plan_port(port, &mut draft, now) {
                ids.insert(key, id);
            }
        }

        let dropped = former.into_iter().filter(|(key, _)| !ids.contains_key(key));
        for (_, id) in dropped {
            if let Some(service) = self.services.by_id.get_mut(&id) {
                service.owner = None;
                service.heir = Heir::Nobody;
            }
        }
        if !ids.is_empty() {
            self.services.names.insert(name.clone(), ids);
        }
        self.sweep(&mut draft, now);
        remember(&mut self.refused.services, name, &draft.refusals);
        draft.finish()
    }

    /// Removes what a previous agent left and nobody has claimed. Call it once, when every Service and every
    /// pod has been planned: until then, what is left may be somebody's who has not come yet.
    pub fn retire_unclaimed(&mut self, now: Duration) -> Plan {
        let mut ops = self.retire_workloads(now);
        let mut draft = Draft::new(Object::Service(ObjectName::new("", "")));
        for frontend in self.services.frontends.adopted() {
            self.services.frontends.let_go(&frontend);
            draft.touched_frontends.insert(frontend);
        }
        let ownerless = self
            .services
            .by_id
            .iter()
            .filter(|(_, service)| service.owner.is_none());
        draft.touched_services.extend(ownerless.map(|(&id, _)| id));
        self.sweep(&mut draft, now);
        ops.append(&mut draft.ops);
        Plan::new(ops, Vec::new())
    }

    /// The Service waits for no frontend any more.
    fn stop_waiting(&mut self, name: &ObjectName, draft: &mut Draft) {
        for refusal in self.refused.services.get(name).into_iter().flatten() {
            if let Reason::Held { frontend, .. } | Reason::Inherited(frontend) = &refusal.reason {
                self.services.frontends.stop_waiting(frontend, name);
                draft.touched_frontends.insert(*frontend);
            }
        }
    }

    /// Lets go of the frontends of these ids; the kernel keeps them until the end of the plan.
    fn let_go(&mut self, former: &BTreeMap<PortKey, u32>, draft: &mut Draft) {
        for id in former.values() {
            let service = self.services.by_id.get(id);
            for frontend in service.into_iter().flat_map(|service| &service.frontends) {
                self.services.frontends.let_go(frontend);
                draft.touched_frontends.insert(*frontend);
            }
            draft.touched_services.insert(*id);
        }
    }

    /// Ends a plan: removes the frontends nobody wants, then the services that cannot be reached.
    fn sweep(&mut self, draft: &mut Draft, now: Duration) {
        for frontend in std::mem::take(&mut draft.touched_frontends) {
            if !self.services.frontends.is_unwanted(&frontend) {
                continue;
            }
            draft.ops.push(Op::RemoveFrontend(frontend));
            if let Some(id) = self.services.frontends.remove(&frontend)
                && let Some(service) = self.services.by_id.get_mut(&id)
            {
                service.frontends.remove(&frontend);
                draft.touched_services.insert(id);
            }
        }
        for id in std::mem::take(&mut draft.touched_services) {
            let service = self.services.by_id.get(&id);
            if service.is_some_and(|service| service.owner.is_none() && service.frontends.is_empty()) {
                self.dissolve(id, draft, now);
            }
        }
        self.services.members -= std::mem::take(&mut draft.removed_members);
    }

    /// Lets a service rest with all it has. Its info stays: a program may still hold the id.
    fn dissolve(&mut self, id: u32, draft: &mut Draft, now: Duration) {
        let Some(service) = self.services.by_id.remove(&id) else {
            return;
        };
        draft.removed_members += service.members.len();
        draft.ops.extend(service.tagged_members(id).map(Op::RemoveMember));
        self.endpoints.release_all(&service.holds, now);
        if let Some(block) = service.block {
            self.regions.rest(block, now);
        }
        self.services.ids.rest(id, now);
    }
}

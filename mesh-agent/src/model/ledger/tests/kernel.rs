//! The tables of the kernel, in memory.

use std::collections::{BTreeMap, BTreeSet};

use mesh_common::addr::{Addr, Port};
use mesh_common::decide::pick::is_mine;
use mesh_common::service::{Backend, Frontend, Member, Region, ServiceInfo, Slot};
use mesh_common::tag::Tagged;
use mesh_common::workload::PodRef;

use crate::model::ledger::Capacity;
use crate::model::op::{Observed, Op};

#[derive(Clone, Debug, Default)]
pub struct Kernel {
    pub frontends: BTreeMap<Frontend, Tagged>,
    pub infos: BTreeMap<u32, ServiceInfo>,
    pub slots: BTreeMap<u32, Slot>,
    pub backends: BTreeMap<u32, Backend>,
    pub members: BTreeSet<Member>,
    pub workloads: BTreeMap<Addr, Tagged>,
    pub pods: BTreeMap<u64, PodRef>,
    pub pending: BTreeMap<u64, PodRef>,
}

impl Kernel {
    pub fn apply_all(&mut self, ops: &[Op]) {
        for op in ops {
            self.apply(op);
        }
    }

    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::SetBackend { id, backend } => {
                self.backends.insert(*id, *backend);
            }
            Op::SetSlots { offset, slots } => self.slots.extend((*offset..).zip(slots.iter().copied())),
            Op::SetServiceInfo { id, info } => {
                self.infos.insert(*id, *info);
            }
            Op::SetFrontend { frontend, value } => {
                self.frontends.insert(*frontend, *value);
            }
            Op::RemoveFrontend(frontend) => {
                assert!(self.frontends.remove(frontend).is_some(), "{op:?}");
            }
            Op::AddMember(member) => {
                self.members.insert(*member);
            }
            Op::RemoveMember(member) => assert!(self.members.remove(member), "{op:?}"),
            Op::SetWorkload { addr, value } => {
                self.workloads.insert(*addr, *value);
            }
            Op::RemoveWorkload(addr) => assert!(self.workloads.remove(addr).is_some(), "{op:?}"),
            Op::SetPod { netns, pod } => {
                self.pods.insert(*netns, *pod);
            }
            Op::RemovePod(netns) => assert!(self.pods.remove(netns).is_some(), "{op:?}"),
            Op::SetPending { cgroup, pod } => {
                self.pending.insert(*cgroup, *pod);
            }
            Op::RemovePending(cgroup) => assert!(self.pending.remove(cgroup).is_some(), "{op:?}"),
        }
    }

    /// The real tables refuse what does not fit.
    pub fn assert_fits(&self, capacity: &Capacity) {
        let below = |last: Option<&u32>, limit: u32| assert!(last.is_none_or(|&last| last < limit));
        assert!(self.frontends.len() <= capacity.services as usize);
        assert!(self.members.len() <= capacity.members as usize);
        assert!(self.workloads.len() <= capacity.workloads as usize);
        assert!(self.pods.len() <= capacity.pods as usize);
        assert!(self.pending.len() <= capacity.pending_pods as usize);
        below(self.infos.keys().last(), capacity.service_info);
        below(self.slots.keys().last(), capacity.lb_table);
        below(self.backends.keys().last(), capacity.backends);
    }

    /// What the agent reads back.
    pub fn observe(&self) -> Observed {
        let ids: BTreeSet<u32> = self.frontends.values().map(|value| value.id()).collect();
        let infos = ids.iter().filter_map(|id| Some((*id, *self.infos.get(id)?)));
        let services: Vec<(u32, ServiceInfo)> = infos.collect();
        let mut regions: Vec<_> = services
            .iter()
            .map(|(_, info)| info.region)
            .filter(|region| !region.is_empty())
            .map(|region| (region.offset(), self.region(region)))
            .collect();
        regions.sort_by_key(|&(offset, _)| offset);
        let named: BTreeSet<u32> = regions
            .iter()
            .flat_map(|(_, slots)| slots)
            .map(|slot| slot.backend)
            .collect();
        Observed {
            frontends: self.frontends.clone().into_iter().collect(),
            services,
            regions,
            backends: named
                .iter()
                .filter_map(|id| Some((*id, *self.backends.get(id)?)))
                .collect(),
            members: self.members.iter().copied().collect(),
            workloads: self.workloads.clone().into_iter().collect(),
            pods: self.pods.clone().into_iter().collect(),
            pending: self.pending.clone().into_iter().collect(),
            touched: None,
        }
    }

    /// The service id a reader finds under a frontend.
    pub fn service(&self, frontend: &Frontend) -> Option<u32> {
        let value = self.frontends.get(frontend)?;
        assert!(value.belongs_to(frontend.hash()));
        Some(value.id())
    }

    /// Every endpoint a reader can reach from a service id.
    pub fn endpoints(&self, service: u32) -> BTreeSet<(Addr, Port)> {
        let slots = self.region(self.infos[&service].region);
        assert!(slots.iter().all(|&slot| is_mine(slot, service)), "a foreign slot");
        slots.iter().map(|slot| self.endpoint(slot.backend)).collect()
    }

    pub fn endpoint(&self, backend: u32) -> (Addr, Port) {
        let record = self.backends[&backend];
        (record.addr, record.port)
    }

    /// Every endpoint a reader can reach.
    pub fn reach(&self, frontend: &Frontend) -> Option<BTreeSet<(Addr, Port)>> {
        Some(self.endpoints(self.service(frontend)?))
    }

    fn region(&self, region: Region) -> Vec<Slot> {
        let slots = self
            .slots
            .range(region.offset()..region.offset().saturating_add(region.len()));
        slots.map(|(_, slot)| *slot).collect()
    }
}

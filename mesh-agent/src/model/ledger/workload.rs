//! Planning a pod.

use std::time::Duration;

use mesh_common::addr::Addr;

use super::Ledger;
use super::capacity::Table;
use super::claims::LetGo;
use super::draft::Draft;
use super::ids::NoId;
use super::plan::Plan;
use super::refusal::{Object, Part, Reason};
use super::refused::remember;
use super::workloads::{Held, Wanted};
use crate::model::desired::{PodKey, Workload};
use crate::model::op::Op;

impl Ledger {
    /// The writes after which the kernel holds just this of a pod; `None` where the pod is gone.
    ///
    /// Where several pods have the same address, the one that got it last has it.
    pub fn plan_workload(&mut self, pod: &PodKey, workload: Option<&Workload>, now: Duration) -> Plan {
        let mut draft = Draft::new(Object::Pod(pod.clone()));
        let former = self.workloads.pods.remove(pod).unwrap_or_default();
        let mut wanted = workload.map(Wanted::of).unwrap_or_default();

        // One that becomes pending again is never unknown in between.
        let stays_known = wanted.netns.is_none() && wanted.pending.is_some();
        if !stays_known {
            self.let_go_of_netns(&former, &wanted, &mut draft);
        }
        self.fit(&mut wanted, &former, &mut draft);
        let id = self.workload_id(pod, &wanted, &former, &mut draft, now);
        if id != 0 {
            self.claim(&wanted, id, &mut draft, now);
        }
        if stays_known {
            self.let_go_of_netns(&former, &wanted, &mut draft);
        }
        self.let_go_of_addresses(&former, &wanted, &mut draft);
        self.let_go_of_pending(&former, &wanted, &mut draft);
        if former.id != 0 {
            self.endpoints.pods.release(former.id, now);
        }
        if id != 0 {
            let held = Held {
                id,
                addresses: wanted.addresses,
                netns: wanted.netns,
                pending: wanted.pending,
            };
            self.workloads.pods.insert(pod.clone(), held);
        }
        remember(&mut self.refused.pods, pod, &draft.refusals);
        draft.finish()
    }

    /// The pods that are refused something and have no network namespace in the tables: whoever fails closed is to be
    /// known by its cgroup for longer.
    pub fn refused_without_netns(&self) -> impl Iterator<Item = &PodKey> {
        let has_netns = |pod: &PodKey| {
            let held = self.workloads.pods.get(pod);
            held.is_some_and(|held| held.netns.is_some())
        };
        self.refused.pods.keys().filter(move |pod| !has_netns(pod))
    }

    /// Removes the entries of pods that nobody has claimed.
    pub(super) fn retire_workloads(&mut self, now: Duration) -> Vec<Op> {
        let netns = self.workloads.netns.retire();
        let pending = self.workloads.pending.retire();
        let addresses = self.workloads.addresses.retire();
        let ids = netns.values().chain(pending.values()).chain(addresses.values());
        for &id in ids {
            self.endpoints.pods.release(id, now);
        }
        self.endpoints.pods.forget_hints();
        let pods = netns.into_keys().map(Op::RemovePod);
        pods.chain(pending.into_keys().map(Op::RemovePending))
            .chain(addresses.into_keys().map(Op::RemoveWorkload))
            .collect()
    }

    /// Cuts down what is wanted to what there is room for: entries there are need none.
    fn fit(&self, wanted: &mut Wanted, former: &Held, draft: &mut Draft) {
        let table = &self.workloads.addresses;
        let new = wanted
            .addresses
            .iter()
            .filter(|addr| !table.contains(addr))
            .count();
        let needed = u32::try_from(new).unwrap_or(u32::MAX);
        let room = self.room(Table::Workloads);
        if needed > room {
            wanted.addresses.retain(|addr| table.contains(addr));
            // Its sockets belong to the mesh only once its peers know its addresses.
            if wanted
                .netns
                .is_some_and(|cookie| !self.workloads.netns.contains(&cookie))
            {
                wanted.stay_pending(former);
            }
            let reason = self.full(Table::Workloads, needed, room, 0);
            draft.refuse(Part::Addresses, reason, !wanted.addresses.is_empty());
        }
        if let Some(cookie) = wanted.netns
            && !self.workloads.netns.contains(&cookie)
            && self.room(Table::Pods) == 0
        {
            let reason = self.full(Table::Pods, 1, 0, 0);
            draft.refuse(Part::Netns(cookie), reason, false);
            wanted.stay_pending(former);
        }
        if let Some(cgroup) = wanted.pending
            && !self.workloads.pending.contains(&cgroup)
            && self.room(Table::PendingPods) == 0
        {
            let reason = self.full(Table::PendingPods, 1, 0, 0);
            draft.refuse(Part::Cgroup(cgroup), reason, false);
            wanted.pending = None;
        }
    }

    /// The workload id of a pod that has anything to write, with a reference to it; else 0.
    fn workload_id(
        &mut self,
        pod: &PodKey,
        wanted: &Wanted,
        former: &Held,
        draft: &mut Draft,
        now: Duration,
    ) -> u32 {
        if wanted.addresses.is_empty() && wanted.netns.is_none() && wanted.pending.is_none() {
            return 0;
        }
        let pods = &mut self.endpoints.pods;
        let taken = pods.take_for_workload(pod, wanted, now);
        taken.unwrap_or_else(|NoId| {
            draft.refuse(Part::Addresses, Reason::NoWorkloadId, former.id != 0);
            0
        })
    }

    fn claim(&mut self, wanted: &Wanted, id: u32, draft: &mut Draft, now: Duration) {
        for &addr in &wanted.addresses {
            let value = wanted.address_entry(&addr, id);
            let claimed = self.workloads.addresses.claim(addr, id, value);
            let write = claimed.write.map(|value| Op::SetWorkload { addr, value });
            draft.ops.extend(write);
            self.endpoints.pods.release(claimed.displaced.unwrap_or(0), now);
        }
        if let Some(netns) = wanted.netns {
            let table = &mut self.workloads.netns;
            let entered_ms = table
                .value(&netns)
                .map_or_else(|| low_half(now), |it| it.entered_ms);
            let claimed = table.claim(netns, id, wanted.netns_entry(netns, id, entered_ms));
            let write = claimed.write.map(|pod| Op::SetPod { netns, pod });
            draft.ops.extend(write);
            self.endpoints.pods.release(claimed.displaced.unwrap_or(0), now);
        }
        if let Some(cgroup) = wanted.pending {
            let entry = wanted.pending_entry(cgroup, id);
            let claimed = self.workloads.pending.claim(cgroup, id, entry);
            let write = claimed.write.map(|pod| Op::SetPending { cgroup, pod });
            draft.ops.extend(write);
            self.endpoints.pods.release(claimed.displaced.unwrap_or(0), now);
        }
    }

    fn let_go_of_netns(&mut self, former: &Held, wanted: &Wanted, draft: &mut Draft) {
        let Some(netns) = former.netns.filter(|_| former.netns != wanted.netns) else {
            return;
        };
        draft
            .ops
            .extend(match self.workloads.netns.let_go(netns, former.id) {
                LetGo::Nothing => None,
                LetGo::HandBack(pod) => Some(Op::SetPod { netns, pod }),
                LetGo::Remove => Some(Op::RemovePod(netns)),
            });
    }

    fn let_go_of_pending(&mut self, former: &Held, wanted: &Wanted, draft: &mut Draft) {
        let Some(cgroup) = former.pending.filter(|_| former.pending != wanted.pending) else {
            return;
        };
        let op = match self.workloads.pending.let_go(cgroup, former.id) {
            LetGo::Nothing => None,
            LetGo::HandBack(pod) => Some(Op::SetPending { cgroup, pod }),
            LetGo::Remove => Some(Op::RemovePending(cgroup)),
        };
        draft.ops.extend(op);
    }

    fn let_go_of_addresses(&mut self, former: &Held, wanted: &Wanted, draft: &mut Draft) {
        let gone = |addr: &&Addr| !wanted.addresses.contains(addr);
        for &addr in former.addresses.iter().filter(gone) {
            let op = match self.workloads.addresses.let_go(addr, former.id) {
                LetGo::Nothing => None,
                LetGo::HandBack(value) => Some(Op::SetWorkload { addr, value }),
                LetGo::Remove => Some(Op::RemoveWorkload(addr)),
            };
            draft.ops.extend(op);
        }
    }
}

/// The milliseconds of a time, as [`mesh_common::workload::PodRef`] has them.
#[expect(clippy::cast_possible_truncation, reason = "the low half is kept")]
const fn low_half(time: Duration) -> u32 {
    time.as_millis() as u32
}

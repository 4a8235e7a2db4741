//! Which workload id is which pod's.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use mesh_common::addr::{Addr, Port};

use super::ids::NoId;
use super::intern::Interned;
use super::workloads::Wanted;
use crate::model::desired::{Endpoint, PodKey};

/// The workload ids. The kernel does not know the names of pods: after adoption an id gets its name from the
/// first pod that comes with what the kernel has under that id.
#[derive(Clone, Debug)]
pub(super) struct Pods {
    pub(super) ids: Interned<PodKey>,
    pub(super) hints: Hints,
}

/// What a previous agent's tables say of the workload ids in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    pub(super) addresses: HashMap<Addr, u32>,
    pub(super) endpoints: HashMap<(Addr, Port), Vec<u32>>,
    pub(super) netns: HashMap<u64, u32>,
    pub(super) pending: HashMap<u64, u32>,
}

impl Pods {
    /// Every pod has come that has an entry; backends remain of services that could not be planned yet. What they
    /// say of an id that has its name tells nobody anything any more.
    pub(super) fn forget_hints(&mut self) {
        let nameless = |id: &u32| self.ids.key(*id).is_none();
        let mut endpoints = mem::take(&mut self.hints).endpoints;
        endpoints.retain(|_, ids| ids.iter().any(nameless));
        endpoints.shrink_to_fit();
        self.hints.endpoints = endpoints;
    }

    /// Refers to the pod behind an endpoint; 0 where it is no pod.
    pub(super) fn take_for_endpoint(&mut self, endpoint: &Endpoint, now: Duration) -> Result<u32, NoId> {
        let Some(pod) = &endpoint.pod else {
            return Ok(0);
        };
        if let Some(taken) = self.ids.take_known(pod) {
            return Ok(taken.id);
        }
        let by_address = self.hints.addresses.get(&endpoint.addr).copied();
        let by_endpoint = self.hints.endpoints.get(&(endpoint.addr, endpoint.port));
        let by_endpoint = by_endpoint.map_or(&[][..], Vec::as_slice);
        // Where both name the same id, it is that one. Else the endpoint is the closer match.
        let agreed = by_address.filter(|id| by_endpoint.contains(id));
        let candidates = agreed
            .into_iter()
            .chain(by_endpoint.iter().copied())
            .chain(by_address);
        match first_nameless(&mut self.ids, candidates, pod) {
            Some(id) => Ok(id),
            None => self.take_new(pod, now),
        }
    }

    /// Refers to a pod that is to have this in the tables.
    pub(super) fn take_for_workload(
        &mut self,
        pod: &PodKey,
        wanted: &Wanted,
        now: Duration,
    ) -> Result<u32, NoId> {
        if let Some(taken) = self.ids.take_known(pod) {
            return Ok(taken.id);
        }
        // A cookie is never used twice, an address is: the cookie knows best.
        let by_netns = wanted.netns.and_then(|cookie| self.hints.netns.get(&cookie));
        let by_cgroup = wanted.pending.and_then(|cgroup| self.hints.pending.get(&cgroup));
        let by_address = wanted.addresses.iter();
        let by_address = by_address.filter_map(|addr| self.hints.addresses.get(addr));
        let candidates = by_netns.into_iter().chain(by_cgroup).chain(by_address).copied();
        match first_nameless(&mut self.ids, candidates, pod) {
            Some(id) => Ok(id),
            None => self.take_new(pod, now),
        }
    }

    /// Gives up a reference to a workload id; 0 is nobody's.
    pub(super) fn release(&mut self, id: u32, now: Duration) {
        if id != 0 {
            self.ids.release(id, now);
        }
    }

    fn take_new(&mut self, pod: &PodKey, now: Duration) -> Result<u32, NoId> {
        let id = self.ids.take_new(pod, now)?.id;
        // Workload ids are plenty: let each rest, whether the kernel has seen it or not.
        self.ids.publish(id);
        Ok(id)
    }
}

fn first_nameless(
    ids: &mut Interned<PodKey>,
    candidates: impl IntoIterator<Item = u32>,
    pod: &PodKey,
) -> Option<u32> {
    candidates
        .into_iter()
        .find_map(|id| ids.name(id, pod))
        .map(|taken| taken.id)
}

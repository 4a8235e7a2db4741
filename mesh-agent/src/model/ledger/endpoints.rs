//! Which backend id is which endpoint's.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_common::service::Backend;

use super::ids::NoId;
use super::intern::Interned;
use super::pods::Pods;
use crate::model::desired::Endpoint;
use crate::model::op::Op;

/// The backend ids and the workload ids their records name.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) pods: Pods,
    pub(super) ids: Interned<Backend>,
}

impl Endpoints {
    /// Refers to the backends of all these endpoints, in their order, or to none.
    pub(super) fn take_all(
        &mut self,
        endpoints: &BTreeSet<Endpoint>,
        now: Duration,
    ) -> Result<Vec<u32>, NoRoom> {
        let mut taken = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            match self.take(endpoint, now) {
                Ok(id) => taken.push(id),
                Err(no_room) => {
                    self.cancel_all(&taken, now);
                    return Err(no_room);
                }
            }
        }
        Ok(taken)
    }

    /// How many of these endpoints need an id of those that are free.
    pub(super) fn missing(&self, endpoints: &BTreeSet<Endpoint>, now: Duration) -> u32 {
        let missing = endpoints.iter().filter(|endpoint| {
            let workload = endpoint.pod.as_ref().map_or(Some(0), |pod| self.pods.ids.id(pod));
            workload.is_none_or(|workload| self.ids.needs_id(&record(endpoint, workload), now))
        });
        u32::try_from(missing.count()).unwrap_or(u32::MAX)
    }

    /// Gives up a reference to each of these backends.
    pub(super) fn release_all(&mut self, backends: &[u32], now: Duration) {
        for &id in backends {
            let workload = self.workload(id);
            if self.ids.release(id, now) {
                self.pods.release(workload, now);
            }
        }
    }

    /// Gives up references to backends that were taken in vain.
    pub(super) fn cancel_all(&mut self, backends: &[u32], now: Duration) {
        for &id in backends {
            let workload = self.workload(id);
            if self.ids.cancel(id) {
                self.pods.release(workload, now);
            }
        }
    }

    /// The writes after which the kernel knows these backends.
    pub(super) fn publish(&mut self, backends: &[u32], ops: &mut Vec<Op>) {
        let unknown = backends
            .iter()
            .filter_map(|&id| Some((id, *self.ids.publish(id)?)));
        ops.extend(unknown.map(|(id, backend)| Op::SetBackend { id, backend }));
    }

    /// The endpoint that a backend id stands for, or last stood for.
    pub(super) fn endpoint(&self, id: u32) -> Option<Endpoint> {
        let record = self.ids.key(id)?;
        Some(Endpoint {
            addr: record.addr,
            port: record.port,
            pod: self.pods.ids.key(record.workload).cloned(),
        })
    }

    /// The workload id of the pod behind a backend.
    fn workload(&self, id: u32) -> u32 {
        self.ids.key(id).map_or(0, |record| record.workload)
    }

    fn take(&mut self, endpoint: &Endpoint, now: Duration) -> Result<u32, NoRoom> {
        let workload = self
            .pods
            .take_for_endpoint(endpoint, now)
            .map_err(|NoId| NoRoom::Workloads)?;
        let taken = self.ids.take(&record(endpoint, workload), now);
        // A backend in use refers to its pod once.
        if !taken.is_ok_and(|taken| taken.first) {
            self.pods.release(workload, now);
        }
        taken.map(|taken| taken.id).map_err(|NoId| NoRoom::Backends)
    }
}

/// What an endpoint could not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoRoom {
    /// A workload id.
    Workloads,
    /// A backend id.
    Backends,
}

const fn record(endpoint: &Endpoint, workload: u32) -> Backend {
    Backend {
        addr: endpoint.addr,
        port: endpoint.port,
        reserved: 0,
        workload,
    }
}

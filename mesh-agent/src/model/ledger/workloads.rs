//! The pods the kernel knows: all of the cluster by address, those of this node by network namespace, or by cgroup as long
//! as that is not known.

use std::collections::HashMap;

use mesh_common::addr::Addr;
use mesh_common::tag::{Tagged, hash_addr};
use mesh_common::workload::{PodRef, flag, hash_cookie};

use super::claims::Claims;
use crate::model::desired::{PodKey, Workload};

/// The tables of pods.
#[derive(Clone, Debug)]
pub(super) struct Workloads {
    pub(super) pods: HashMap<PodKey, Held>,
    pub(super) addresses: Claims<Addr, Tagged>,
    pub(super) netns: Claims<u64, PodRef>,
    pub(super) pending: Claims<u64, PodRef>,
}

/// What a pod has in the tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// Its workload id; 0 before it has any.
    pub(super) id: u32,
    pub(super) addresses: Vec<Addr>,
    pub(super) netns: Option<u64>,
    pub(super) pending: Option<u64>,
}

/// What a pod should have in the tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) addresses: Vec<Addr>,
    pub(super) netns: Option<u64>,
    /// Its cgroup, where it is pending.
    pub(super) pending: Option<u64>,
    /// Its cgroup, where that is known.
    cgroup: Option<u64>,
    flags: u8,
    seed: Option<u32>,
}

impl Wanted {
    pub(super) fn of(workload: &Workload) -> Self {
        let mut addresses: Vec<Addr> = Vec::with_capacity(workload.addresses.len());
        for &addr in &workload.addresses {
            if !addresses.contains(&addr) {
                addresses.push(addr);
            }
        }
        let local = if workload.local { flag::LOCAL } else { 0 };
        let enrolled = if workload.enrolled { flag::ENROLLED } else { 0 };
        let accelerated = if workload.accelerated {
            flag::ACCELERATED
        } else {
            0
        };
        let closed = if workload.fails_closed { flag::CLOSED } else { 0 };
        let ours = workload.local && workload.enrolled;
        let cgroup = workload.cgroup.filter(|_| ours);
        Self {
            seed: addresses.first().map(seed),
            addresses,
            netns: workload.netns.filter(|_| ours),
            pending: cgroup.filter(|_| workload.netns.is_none()),
            cgroup,
            flags: local | enrolled | accelerated | closed,
        }
    }

    /// Its network namespace can't be written: it is pending for longer, by what it was known by.
    pub(super) fn stay_pending(&mut self, former: &Held) {
        self.netns = None;
        self.pending = self.cgroup.or(former.pending);
    }

    /// The entry of one of its addresses. How a pod's namespace fails is asked at its own node only.
    pub(super) const fn address_entry(&self, addr: &Addr, id: u32) -> Tagged {
        let here = flag::LOCAL | flag::ENROLLED;
        let flags = if self.flags & here == here {
            self.flags
        } else {
            self.flags & !flag::CLOSED
        };
        Tagged::new(id, flags, hash_addr(addr))
    }

    /// The entry of its network namespace, which was made then.
    pub(super) fn netns_entry(&self, cookie: u64, id: u32, entered_ms: u32) -> PodRef {
        PodRef {
            workload: Tagged::new(
                id,
                self.flags & (flag::ACCELERATED | flag::CLOSED),
                hash_cookie(cookie),
            ),
            seed: self.seed.unwrap_or_default(),
            entered_ms,
        }
    }

    /// The entry of its cgroup. Nothing asks when it was made: such a pod's sockets are never redirected.
    pub(super) fn pending_entry(&self, cgroup: u64, id: u32) -> PodRef {
        let check = hash_cookie(cgroup);
        PodRef {
            workload: Tagged::new(id, self.flags & (flag::ACCELERATED | flag::CLOSED), check),
            // Pods without an address are not to be one and the same client.
            seed: self.seed.unwrap_or((check >> 32) as u32),
            entered_ms: 0,
        }
    }
}

/// What consistent hashing knows a client with that address by.
const fn seed(addr: &Addr) -> u32 {
    (hash_addr(addr) >> 32) as u32
}

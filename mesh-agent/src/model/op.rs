//! Single writes to the kernel tables, as data: planned by pure code, carried out by one writer.

use mesh_common::abi::map;
use mesh_common::addr::Addr;
use mesh_common::config::Config;
use mesh_common::service::{Backend, Frontend, Member, ServiceInfo, Slot};
use mesh_common::tag::Tagged;
use mesh_common::workload::PodRef;

/// One write. Each is idempotent; the order of a plan is what keeps readers right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Op {
    /// `BACKENDS[id] = backend`.
    SetBackend {
        /// Backend id.
        id: u32,
        /// The record.
        backend: Backend,
    },
    /// `LB_TABLE[offset..] = slots`.
    SetSlots {
        /// First slot.
        offset: u32,
        /// The slots.
        slots: Vec<Slot>,
    },
    /// `SERVICE_INFO[id] = info`.
    SetServiceInfo {
        /// Service id.
        id: u32,
        /// The record.
        info: ServiceInfo,
    },
    /// `SERVICES[frontend] = value`.
    SetFrontend {
        /// The key.
        frontend: Frontend,
        /// Service id, tagged.
        value: Tagged,
    },
    /// Removes `SERVICES[frontend]`.
    RemoveFrontend(Frontend),
    /// Adds to `MEMBERS`.
    AddMember(Member),
    /// Removes from `MEMBERS`.
    RemoveMember(Member),
    /// `WORKLOADS[addr] = value`.
    SetWorkload {
        /// The key.
        addr: Addr,
        /// Workload id, tagged.
        value: Tagged,
    },
    /// Removes `WORKLOADS[addr]`.
    RemoveWorkload(Addr),
    /// `PODS[netns] = pod`.
    SetPod {
        /// Cookie of the network namespace.
        netns: u64,
        /// The value.
        pod: PodRef,
    },
    /// Removes `PODS[netns]`.
    RemovePod(u64),
    /// `PENDING_PODS[cgroup] = pod`.
    SetPending {
        /// Id of the pod's cgroup.
        cgroup: u64,
        /// The value.
        pod: PodRef,
    },
    /// Removes `PENDING_PODS[cgroup]`.
    RemovePending(u64),
}

impl Op {
    /// The map it writes, and how many of its entries.
    #[must_use]
    pub const fn extent(&self) -> (&'static str, usize) {
        match self {
            Self::SetBackend { .. } => (map::BACKENDS, 1),
            Self::SetSlots { slots, .. } => (map::LB_TABLE, slots.len()),
            Self::SetServiceInfo { .. } => (map::SERVICE_INFO, 1),
            Self::SetFrontend { .. } | Self::RemoveFrontend(_) => (map::SERVICES, 1),
            Self::AddMember(_) | Self::RemoveMember(_) => (map::MEMBERS, 1),
            Self::SetWorkload { .. } | Self::RemoveWorkload(_) => (map::WORKLOADS, 1),
            Self::SetPod { .. } | Self::RemovePod(_) => (map::PODS, 1),
            Self::SetPending { .. } | Self::RemovePending(_) => (map::PENDING_PODS, 1),
        }
    }
}

/// How much of the arrays was ever used: from these numbers on, no program can hold anything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Touched {
    /// First service id that was never used.
    pub services: u32,
    /// First backend id that was never used.
    pub backends: u32,
    /// First slot that was never used.
    pub slots: u32,
}

impl From<&Config> for Touched {
    fn from(config: &Config) -> Self {
        Self {
            services: config.services_touched,
            backends: config.backends_touched,
            slots: config.slots_touched,
        }
    }
}

impl Touched {
    /// With what a write is about to use.
    #[must_use]
    pub fn and(mut self, op: &Op) -> Self {
        match op {
            Op::SetServiceInfo { id, .. } => self.services = self.services.max(id.saturating_add(1)),
            Op::SetBackend { id, .. } => self.backends = self.backends.max(id.saturating_add(1)),
            Op::SetSlots { offset, slots } => {
                let len = u32::try_from(slots.len()).unwrap_or(u32::MAX);
                self.slots = self.slots.max(offset.saturating_add(len));
            }
            _ => {}
        }
        self
    }
}

/// What the tables hold, as read back from the kernel.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Observed {
    /// `SERVICES`.
    pub frontends: Vec<(Frontend, Tagged)>,
    /// `SERVICE_INFO` of every id that `frontends` names.
    pub services: Vec<(u32, ServiceInfo)>,
    /// `LB_TABLE` where a region of `services` lies: first slot and slots.
    pub regions: Vec<(u32, Vec<Slot>)>,
    /// `BACKENDS` of every id that a slot names.
    pub backends: Vec<(u32, Backend)>,
    /// `MEMBERS`.
    pub members: Vec<Member>,
    /// `WORKLOADS`.
    pub workloads: Vec<(Addr, Tagged)>,
    /// `PODS`.
    pub pods: Vec<(u64, PodRef)>,
    /// `PENDING_PODS`.
    pub pending: Vec<(u64, PodRef)>,
    /// How much was ever used, where that is known.
    pub touched: Option<Touched>,
}

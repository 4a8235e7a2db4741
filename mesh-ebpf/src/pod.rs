//! Whose socket is this?

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::programs::SockAddrContext;
use mesh_common::{
    addr::Addr,
    config,
    tag::{Tagged, hash_addr},
    workload::{self, PodRef, hash_cookie},
};

use crate::{
    context,
    lookup::{Lookup, checked},
    maps::{CONFIG, PODS, WORKLOADS},
    pending,
};

/// The pod that owns the current socket.
#[derive(Clone, Copy)]
pub struct Pod {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Its workload id.
    pub workload: u32,
    /// What consistent hashing knows it by.
    pub seed: u32,
    /// Bits of [`mesh_common::workload::flag`].
    pub flags: u8,
    /// Whether it is known by its cgroup, and not by its network namespace.
    pub pending: bool,
    /// [`mesh_common::workload::PodRef::entered_ms`].
    pub entered_ms: u32,
}

impl Pod {
    /// Whether what it sends there must not leave it.
    #[inline(always)]
    pub fn is_held(&self, to: &Addr) -> bool {
        self.pending && self.flags & workload::flag::CLOSED != 0 && !to.is_loopback()
    }
}

/// The pod whose process uses its socket just now; `None` for everything that is not in the mesh, after one look-up where no
/// pod is pending.
#[inline(always)]
pub fn of_caller(ctx: &SockAddrContext) -> Option<Pod> {
    let netns = context::netns_cookie(ctx);
    find(netns).or_else(|| pending::find(netns))
}

/// The pod of a network namespace; `None` for everything that is not in the mesh, after one look-up.
#[inline(always)]
pub fn find(netns: u64) -> Option<Pod> {
    let found = checked(|| read(PODS.get_ptr(netns), netns)).filter(|_| enabled());
    found.map(|pod| Pod { netns, ..pod })
}

/// What an entry of `PODS` or `PENDING_PODS` says, if it is still that key's.
#[inline(always)]
pub fn read(pod: Option<*const PodRef>, key: u64) -> Lookup<Pod> {
    let Some(pod) = pod else {
        return Lookup::Absent;
    };
    // SAFETY: `pod` points into the map's value for as long as the program runs.
    let workload: Tagged = unsafe { read_volatile(addr_of!((*pod).workload)) };
    // SAFETY: as above.
    let seed = unsafe { read_volatile(addr_of!((*pod).seed)) };
    // SAFETY: as above.
    let entered_ms = unsafe { read_volatile(addr_of!((*pod).entered_ms)) };
    if workload.belongs_to(hash_cookie(key)) {
        Lookup::Found(Pod {
            netns: 0,
            workload: workload.id(),
            seed,
            flags: workload.flags(),
            pending: false,
            entered_ms,
        })
    } else {
        Lookup::Recycled
    }
}

/// Workload id of the pod with an address; 0 where that is no pod.
#[inline(always)]
pub fn workload_at(addr: &Addr) -> u32 {
    owner(addr).map_or(0, Tagged::id)
}

/// The pod with an address.
#[inline(always)]
pub fn owner(addr: &Addr) -> Option<Tagged> {
    checked(|| {
        let Some(value) = WORKLOADS.get_ptr(addr) else {
            return Lookup::Absent;
        };
        // SAFETY: `value` points into the map's value for as long as the program runs; one word, read at once.
        let value: Tagged = unsafe { read_volatile(value) };
        if value.belongs_to(hash_addr(addr)) {
            Lookup::Found(value)
        } else {
            Lookup::Recycled
        }
    })
}

/// Whether the kill switch is off.
#[inline(always)]
pub fn enabled() -> bool {
    CONFIG
        .get(0)
        .is_some_and(|config| config.flags & config::flag::DISABLED == 0)
}

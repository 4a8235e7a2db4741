//! From a frontend to a backend.

use core::{
    num::NonZeroU32,
    ptr::{addr_of, read_volatile},
};

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use mesh_common::{
    counter::Counter,
    decide::{affinity, pick},
    service::{Affinity, AffinityKey, Backend, Frontend, Member, Region, ServiceInfo, Slot},
    tag::Tagged,
};

use crate::{
    count::count,
    lookup::{Lookup, checked},
    maps::{AFFINITY, BACKENDS, LB_TABLE, MEMBERS, SERVICE_INFO, SERVICES},
    pod::Pod,
};

/// What was found for a client and a service.
pub enum Choice {
    /// Send it there.
    Backend(Chosen),
    /// The service has no endpoint.
    NoEndpoint,
    /// The tables contradicted each other twice in a row.
    Inconsistent,
}

/// A backend and its id.
pub struct Chosen {
    /// Backend id.
    pub id: u32,
    /// Its record.
    pub backend: Backend,
}

/// The id of the service behind a frontend; `None` where nothing of that address, port and protocol is ours.
#[inline(always)]
pub fn service(frontend: &Frontend) -> Option<u32> {
    checked(|| {
        let Some(value) = SERVICES.get_ptr(frontend) else {
            return Lookup::Absent;
        };
        // SAFETY: `value` points into the map's value for as long as the program runs; one word, read at once.
        let value: Tagged = unsafe { read_volatile(value) };
        if value.belongs_to(frontend.hash()) {
            Lookup::Found(value.id())
        } else {
            Lookup::Recycled
        }
    })
}

/// Chooses a backend. `sticky` is the backend this client had before, which it keeps while it is a member.
#[inline(always)]
pub fn choose(frontend: &Frontend, service: u32, pod: &Pod, sticky: Option<NonZeroU32>) -> Choice {
    if let Some(chosen) = sticky.and_then(|id| member(service, id.get())) {
        return Choice::Backend(chosen);
    }
    let Some(info) = SERVICE_INFO.get_ptr(service) else {
        return Choice::Inconsistent;
    };
    // SAFETY: `info` points into an array, whose elements stay where they are.
    let timeout = unsafe { read_volatile(addr_of!((*info).affinity_seconds)) };
    if timeout == 0 {
        return draw(info, frontend, service, pod);
    }
    let key = AffinityKey {
        netns: pod.netns,
        service,
        reserved: 0,
    };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let choice = match remembered(&key, timeout, now) {
        Some(chosen) => Choice::Backend(chosen),
        None => draw(info, frontend, service, pod),
    };
    if let Choice::Backend(chosen) = &choice {
        // An LRU map always finds room; should it not, the client is merely balanced anew.
        let _evicted = AFFINITY.insert(
            key,
            Affinity {
                last_ns: now,
                backend: chosen.id,
                reserved: 0,
            },
            0,
        );
    }
    choice
}

/// The backend a client with affinity had, while its time-out has not passed and it is still an endpoint.
#[inline(always)]
fn remembered(key: &AffinityKey, timeout_seconds: u32, now_ns: u64) -> Option<Chosen> {
    let entry = AFFINITY.get_ptr(key)?;
    // SAFETY: `entry` points into the map's value for as long as the program runs; a recycled one names a
    // backend that the membership check refuses unless it serves this very service.
    let entry = unsafe { read_volatile(entry) };
    if !affinity::holds(&entry, timeout_seconds, now_ns) {
        return None;
    }
    member(key.service, entry.backend)
}

/// A backend by id, if it is an endpoint of the service now.
#[inline(always)]
fn member(service: u32, backend: u32) -> Option<Chosen> {
    MEMBERS.get_ptr(Member { service, backend })?;
    record(backend)
}

/// Draws a slot. A slot that names another service was freed and used again under us: the region has been
/// switched meanwhile, so read it once more.
#[inline(always)]
fn draw(info: *const ServiceInfo, frontend: &Frontend, service: u32, pod: &Pod) -> Choice {
    match try_draw(info, frontend, service, pod) {
        Choice::Inconsistent => {
            count(Counter::StaleSlot);
            try_draw(info, frontend, service, pod)
        }
        choice => choice,
    }
}

#[inline(always)]
fn try_draw(info: *const ServiceInfo, frontend: &Frontend, service: u32, pod: &Pod) -> Choice {
    // SAFETY: `info` points into an array, whose elements stay where they are; one word, read at once.
    let region: Region = unsafe { read_volatile(addr_of!((*info).region)) };
    // SAFETY: the helper has no preconditions.
    let random = unsafe { bpf_get_prandom_u32() };
    let Some(index) = pick::slot(region, frontend, pod.seed, random) else {
        return Choice::NoEndpoint;
    };
    let Some(slot) = LB_TABLE.get_ptr(index) else {
        return Choice::Inconsistent;
    };
    // SAFETY: as above; a slot is one aligned word, read as such so that it cannot tear.
    let slot: Slot = Slot::from_word(unsafe { read_volatile(slot.cast()) });
    if !pick::is_mine(slot, service) {
        return Choice::Inconsistent;
    }
    match record(slot.backend) {
        Some(chosen) => Choice::Backend(chosen),
        None => Choice::Inconsistent,
    }
}

#[inline(always)]
fn record(id: u32) -> Option<Chosen> {
    // A record never changes while its id is in use, and ids rest before they are used again.
    BACKENDS.get(id).map(|backend| Chosen {
        id,
        backend: *backend,
    })
}

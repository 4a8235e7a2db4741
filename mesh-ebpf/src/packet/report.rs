//! What is refused is counted and reported; the reports of a pod have a limit.

use core::ptr::{addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::helpers::bpf_ktime_get_ns;
use mesh_common::{
    conntrack::{
        EVENTS, EVENTS_STRETCH_NS, FLOWS_STRETCH_NS, NEW_FLOWS, NEW_FLOWS_BY_PEERS, Quotas, TrackKey,
    },
    counter::Counter,
    decide::{quota, track::Ruling},
    flow::EventKind,
    policy::{Denial, Direction, Hook, Reason},
    rules::flag,
};

use super::{
    frame::Packet,
    guard::{self, Pod},
};
use crate::{count::count, emit, maps::QUOTAS};

/// A flow, and the packet of it that is at hand.
pub struct Flow<'a> {
    /// What it is remembered by.
    pub key: &'a TrackKey,
    /// The packet.
    pub packet: &'a Packet,
}

/// Counts what policies said in a direction, and reports what they refused.
#[inline(always)]
pub fn said(pod: &Pod, flow: &Flow<'_>, direction: Direction, ruling: Ruling) {
    let either = |egress, ingress| match direction {
        Direction::Egress => egress,
        Direction::Ingress => ingress,
    };
    let kind = match ruling {
        Ruling::Open => return,
        Ruling::Allowed => return count(either(Counter::AllowedEgress, Counter::AllowedIngress)),
        Ruling::Audited => {
            count(either(Counter::AuditedEgress, Counter::AuditedIngress));
            EventKind::Audited
        }
        Ruling::Denied => {
            count(either(Counter::DeniedEgress, Counter::DeniedIngress));
            EventKind::Denied
        }
    };
    tell(pod, flow, kind, (direction, Reason::Policy));
}

/// A frame that bears no address of the pod: counted and, out of the pod, reported; whether it passes nevertheless.
/// Towards the pod nothing is reported: a bridge that has forgotten where an address is sends packets everywhere.
#[inline(never)]
pub fn foreign(pod: &Pod, packet: &Packet) -> bool {
    if !guard::is_enabled() {
        return true;
    }
    let (counter, reason) = guard::foreign(pod.way);
    count(counter);
    if let Some(reason) = reason {
        let key = &guard::key(pod, packet);
        tell(pod, &Flow { key, packet }, EventKind::Denied, (pod.way, reason));
    }
    false
}

/// A frame that can't be judged: counted and reported; whether it passes nevertheless.
#[inline(never)]
pub fn unreadable(pod: &Pod, packet: &Packet) -> bool {
    if !guard::is_enabled() {
        return true;
    }
    let audited = pod.sets.flags() & flag::AUDIT != 0;
    let (counter, kind) = match (audited, pod.way) {
        (false, Direction::Egress) => (Counter::UnreadableEgress, EventKind::Denied),
        (false, Direction::Ingress) => (Counter::UnreadableIngress, EventKind::Denied),
        (true, Direction::Egress) => (Counter::AuditedEgress, EventKind::Audited),
        (true, Direction::Ingress) => (Counter::AuditedIngress, EventKind::Audited),
    };
    count(counter);
    let key = &guard::key(pod, packet);
    tell(pod, &Flow { key, packet }, kind, (pod.way, Reason::Unreadable));
    audited
}

/// A function of its own, since the programs would run out of stack.
#[inline(never)]
fn tell(pod: &Pod, flow: &Flow<'_>, kind: EventKind, (direction, reason): (Direction, Reason)) {
    if !may_tell(pod.workload) {
        count(Counter::EventQuota);
        return;
    }
    let denial = Denial {
        set: pod.sets.of(direction),
        direction: direction as u8,
        hook: Hook::Packet as u8,
        reason: reason as u8,
        reserved: 0,
    };
    let (local, _) = guard::ends(flow.packet, pod.way);
    emit::packet(flow.key, &local, kind, denial);
}

/// Whether a pod may have one more new flow, opened by a peer or by itself.
#[inline(never)]
pub fn may_enter(workload: u32, by_peer: bool) -> bool {
    of(workload).is_some_and(|quotas| {
        // SAFETY: `quotas` points into the map's value for as long as the program runs.
        let (flows, asked) = unsafe { (addr_of_mut!((*quotas).flows), addr_of_mut!((*quotas).asked)) };
        if by_peer {
            take(asked, FLOWS_STRETCH_NS, NEW_FLOWS_BY_PEERS)
        } else {
            take(flows, FLOWS_STRETCH_NS, NEW_FLOWS)
        }
    })
}

/// Whether a pod may have one more event.
#[inline(never)]
fn may_tell(workload: u32) -> bool {
    of(workload).is_some_and(|quotas| {
        // SAFETY: as in [`may_enter`].
        let word = unsafe { addr_of_mut!((*quotas).events) };
        take(word, EVENTS_STRETCH_NS, EVENTS)
    })
}

#[inline(always)]
fn of(workload: u32) -> Option<*mut Quotas> {
    let quotas = QUOTAS.get_ptr_mut(workload);
    if quotas.is_none() {
        // Another CPU may have been faster; then its element is found now.
        let _exists = QUOTAS.insert(workload, Quotas::default(), 1);
        return QUOTAS.get_ptr_mut(workload);
    }
    quotas
}

#[inline(always)]
fn take(word: *mut u64, stretch_ns: u64, most: u32) -> bool {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: `word` lies in a map's value; one word, read at once.
    let Some(next) = quota::take(unsafe { read_volatile(word) }, now, stretch_ns, most) else {
        return false;
    };
    // SAFETY: as above; one word, written at once.
    unsafe { write_volatile(word, next) };
    true
}

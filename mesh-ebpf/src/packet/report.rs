//! What is refused is counted and reported; the reports of a pod have a limit.

use core::ptr::{addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::helpers::bpf_ktime_get_ns;
use mesh_common::{
    addr::{Addr, Port},
    conntrack::{EVENTS, EVENTS_STRETCH_NS, FLOWS_STRETCH_NS, NEW_FLOWS, Quotas},
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

/// A flow, seen from the pod.
#[derive(Clone, Copy, Default)]
pub struct Subject {
    /// The pod's address.
    pub local: Addr,
    /// The other end's.
    pub remote: Addr,
    /// The pod's port; 0 where there is none.
    pub local_port: Port,
    /// The other end's.
    pub remote_port: Port,
    /// IANA number of the protocol.
    pub protocol: u8,
}

/// Counts what policies said in a direction, and reports what they refused.
#[inline(always)]
pub fn said(pod: &Pod, subject: &Subject, direction: Direction, ruling: Ruling) {
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
    tell(pod, subject, kind, direction, Reason::Policy);
}

/// A frame that bears no address of the pod: counted and, out of the pod, reported; whether it passes nevertheless.
/// Towards the pod nothing is reported: a bridge that has forgotten where an address is sends packets everywhere.
#[inline(never)]
pub fn foreign(pod: &Pod, packet: Option<&Packet>) -> bool {
    if !guard::is_enabled() {
        return true;
    }
    let (counter, reason) = guard::foreign(pod.way);
    count(counter);
    if let Some(reason) = reason {
        tell(pod, &subject(pod, packet), EventKind::Denied, pod.way, reason);
    }
    false
}

/// A frame that can't be judged: counted and reported; whether it passes nevertheless.
#[inline(never)]
pub fn unreadable(pod: &Pod, packet: Option<&Packet>) -> bool {
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
    tell(pod, &subject(pod, packet), kind, pod.way, Reason::Unreadable);
    audited
}

#[inline(always)]
fn subject(pod: &Pod, packet: Option<&Packet>) -> Subject {
    packet.map_or_else(Subject::default, |packet| guard::seen_from_pod(packet, pod.way))
}

#[inline(always)]
fn tell(pod: &Pod, subject: &Subject, kind: EventKind, direction: Direction, reason: Reason) {
    if !may(pod.workload, true) {
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
    emit::packet(pod.workload, subject, kind, denial);
}

/// Whether a pod may have one more event, or one more new flow.
#[inline(never)]
pub fn may(workload: u32, event: bool) -> bool {
    let mut quotas = QUOTAS.get_ptr_mut(workload);
    if quotas.is_none() {
        // Another CPU may have been faster; then its element is found now.
        let _exists = QUOTAS.insert(workload, Quotas::default(), 1);
        quotas = QUOTAS.get_ptr_mut(workload);
    }
    let Some(quotas) = quotas else { return false };
    // SAFETY: `quotas` points into the map's value for as long as the program runs.
    let (word, stretch, most) = unsafe {
        if event {
            (addr_of_mut!((*quotas).events), EVENTS_STRETCH_NS, EVENTS)
        } else {
            (addr_of_mut!((*quotas).flows), FLOWS_STRETCH_NS, NEW_FLOWS)
        }
    };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: as above; one word, read at once.
    let Some(next) = quota::take(unsafe { read_volatile(word) }, now, stretch, most) else {
        return false;
    };
    // SAFETY: as above; one word, written at once.
    unsafe { write_volatile(word, next) };
    true
}

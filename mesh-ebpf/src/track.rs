//! Flows that policies have let pass before.

use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::helpers::bpf_ktime_get_ns;
use mesh_common::{
    addr::{Addr, Port},
    conntrack::{REFRESH_NS, TrackKey, Tracked, flag},
    tag::Tagged,
};

use crate::maps::{CT_ANY, CT_TCP};

/// Key of a flow of a pod.
#[inline(always)]
pub const fn key(pod: u32, protocol: u8, local_port: Port, remote: Addr, remote_port: Port) -> TrackKey {
    TrackKey {
        pod,
        remote,
        local_port,
        remote_port,
        protocol,
        reserved: [0; 3],
    }
}

/// Whether a datagram of a pod answers one that the other end sent before.
#[inline(always)]
pub fn answers(key: &TrackKey) -> bool {
    alive(key).is_some_and(|judged| judged.flags() & flag::BY_PEER != 0)
}

/// Whether a datagram for a pod answers one that the pod sent before.
#[inline(always)]
pub fn is_answer(key: &TrackKey) -> bool {
    alive(key).is_some_and(|judged| judged.flags() & flag::BY_PEER == 0)
}

#[inline(always)]
fn alive(key: &TrackKey) -> Option<Tagged> {
    // SAFETY: the helper has no preconditions.
    datagram(key, unsafe { bpf_ktime_get_ns() }).0
}

/// What is remembered of a flow without a connection that is not over, and when a packet of it was last seen.
#[inline(always)]
pub fn datagram(key: &TrackKey, now_ns: u64) -> (Option<Tagged>, u64) {
    let Some(flow) = CT_ANY.get_ptr(key) else {
        return (None, 0);
    };
    let flow: *const Tracked = flow;
    // SAFETY: `flow` points into the map's value for as long as the program runs. The word with the check is read last.
    let (last_ns, judged) = unsafe {
        let last_ns = read_volatile(addr_of!((*flow).last_ns));
        let judged: Tagged = read_volatile(addr_of!((*flow).judged));
        (last_ns, judged)
    };
    let flow = Tracked { last_ns, judged };
    let judged = (flow.is_alive(now_ns) && judged.belongs_to(key.hash())).then_some(judged);
    (judged, last_ns)
}

/// Notes that a flow is in use, where that was last noted a while ago.
#[inline(always)]
pub fn refresh(key: &TrackKey, last_ns: u64, now_ns: u64) {
    if now_ns.saturating_sub(last_ns) < REFRESH_NS {
        return;
    }
    let Some(flow) = CT_ANY.get_ptr_mut(key) else {
        return;
    };
    let flow: *mut Tracked = flow;
    // SAFETY: `flow` points into the map's value for as long as the program runs; one word, written at once. In an element
    // that was recycled it makes another flow live as much longer.
    unsafe { write_volatile(addr_of_mut!((*flow).last_ns), now_ns) };
}

/// Remembers a flow without a connection. Where there is no room the next packet is judged again.
#[inline(always)]
pub fn enter(key: &TrackKey, policy: u32, flags: u8, now_ns: u64) {
    let flow = Tracked {
        last_ns: now_ns,
        judged: key.judged(policy, flags),
    };
    let _full = CT_ANY.insert(key, flow, 0);
}

/// What is remembered of a TCP connection.
#[inline(always)]
pub fn connection(key: &TrackKey) -> Option<Tagged> {
    // SAFETY: the pointer leads into the map's value for as long as the program runs; one word, read at once.
    let judged: Tagged = unsafe { read_volatile(CT_TCP.get_ptr(key)?) };
    judged.belongs_to(key.hash()).then_some(judged)
}

/// Remembers a TCP connection. Where there is no room the next segment is judged again.
#[inline(always)]
pub fn enter_connection(key: &TrackKey, policy: u32, flags: u8) {
    let _full = CT_TCP.insert(key, key.judged(policy, flags), 0);
}

/// Forgets a TCP connection that is over.
#[inline(always)]
pub fn forget_connection(key: &TrackKey) {
    let _gone = CT_TCP.remove(key);
}

/// Whether a flow of any protocol is remembered as one that passed.
#[inline(always)]
pub fn knows(key: &TrackKey) -> bool {
    alive(key).is_some() || connection(key).is_some_and(|judged| judged.flags() & flag::REFUSED == 0)
}

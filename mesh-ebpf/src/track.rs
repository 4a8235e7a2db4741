//! Flows that policies have let pass before.

use core::ptr::read_volatile;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use mesh_common::{
    addr::{Addr, Port},
    conntrack::{TrackKey, Tracked, flag},
};

use crate::maps::CT_ANY;

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
    alive(key).is_some_and(|flow| flow.flags & flag::BY_PEER != 0)
}

/// Whether a datagram for a pod answers one that the pod sent before.
#[inline(always)]
pub fn is_answer(key: &TrackKey) -> bool {
    alive(key).is_some_and(|flow| flow.flags & flag::BY_PEER == 0)
}

#[inline(always)]
fn alive(key: &TrackKey) -> Option<Tracked> {
    let flow = CT_ANY.get_ptr(key)?;
    // SAFETY: `flow` points into the map's value for as long as the program runs.
    let flow = unsafe { read_volatile(flow) };
    // SAFETY: the helper has no preconditions.
    flow.is_alive(unsafe { bpf_ktime_get_ns() }).then_some(flow)
}

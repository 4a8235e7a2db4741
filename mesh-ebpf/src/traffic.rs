//! Totals by pod and service, which no lost event can falsify.

use mesh_common::{
    counter::Counter,
    flow::{Traffic, TrafficKey},
    sock::SockState,
};

use crate::{count::count, maps::TRAFFIC};

/// Changes the totals of the pod that owns the socket and the service it dialled.
#[inline(always)]
pub fn update(sock: &SockState, change: impl Fn(&mut Traffic)) {
    let key = TrafficKey {
        pod: sock.pod,
        service: sock.service,
    };
    let mut total = TRAFFIC.get_ptr_mut(key);
    if total.is_none() {
        // Another CPU may have been faster; then its element is found now.
        let _exists = TRAFFIC.insert(key, Traffic::default(), 1);
        total = TRAFFIC.get_ptr_mut(key);
    }
    match total {
        // SAFETY: the element is this CPU's own; socket operations of one CPU do not nest.
        Some(total) => change(unsafe { &mut *total }),
        None => count(Counter::TrafficFull),
    }
}

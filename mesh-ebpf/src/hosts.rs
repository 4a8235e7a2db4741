//! The host's own sockets, on their way to pods of this node: kubelet's probes, for example. Policies do not hold for
//! them. At the pod's listeners nothing tells a socket of the host from a packet that was forwarded with one of its
//! addresses, so the host's are noted when they connect.

use core::ptr::read_volatile;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_netns_cookie, bpf_ktime_get_ns},
    programs::SockOpsContext,
};
use mesh_common::{
    config,
    inbound::{HOSTS_MS, Inbound, Stamp},
    workload::flag,
};

use crate::{
    maps::{CONFIG, HOST_FLOWS},
    pod, segment,
};

/// Notes a socket that is no pod's and is about to send its SYN, if it is the host's and wants to go to a pod of this node.
/// While no pod here has rules that is one look into an array, and for other destinations one look-up more.
#[inline(always)]
pub fn connects(ctx: &SockOpsContext) {
    let Some(config) = CONFIG.get(0) else { return };
    if config.flags & config::flag::POLICED == 0 {
        return;
    }
    // SAFETY: the helper takes this program type's context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    if netns == config.host_netns {
        note(ctx);
    }
}

/// A function of its own, since the hook would run out of stack.
#[inline(never)]
fn note(ctx: &SockOpsContext) {
    let (host, pod) = segment::ends(ctx);
    let here = flag::LOCAL | flag::ENROLLED;
    if pod::owner(&pod.0).is_none_or(|owner| owner.flags() & here != here) {
        return;
    }
    remember(&Inbound {
        local: pod.0,
        remote: host.0,
        local_port: pod.1,
        remote_port: host.1,
    });
}

/// A socket of the host asks a pod.
#[inline(always)]
pub fn remember(asked: &Inbound) {
    // SAFETY: the helper has no preconditions.
    let stamp = Stamp::new(asked, unsafe { bpf_ktime_get_ns() });
    // Fails only where another CPU holds the table's lock for long; the host then has to connect again.
    let _noted = HOST_FLOWS.insert(asked, stamp, 0);
}

/// Whether it is a socket of the host that asks.
#[inline(always)]
pub fn ask(asked: &Inbound) -> bool {
    let Some(stamp) = HOST_FLOWS.get_ptr(asked) else {
        return false;
    };
    // SAFETY: `stamp` points into the map's value for as long as the program runs; one word, read at once.
    let stamp: Stamp = unsafe { read_volatile(stamp) };
    // SAFETY: the helper has no preconditions.
    stamp.holds(asked, unsafe { bpf_ktime_get_ns() }, HOSTS_MS)
}

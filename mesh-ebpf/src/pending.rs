//! Pods that are bound to this node and not yet known by their network namespace: the process that uses the socket tells,
//! by the pod's cgroup above its own.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{helpers::bpf_get_current_ancestor_cgroup_id, programs::SockOpsContext};
use mesh_common::{
    config::{self, Config},
    pending::Levels,
    sock::flag,
};

use crate::{
    lookup::checked,
    maps::{CONFIG, PENDING_PODS},
    pod::{self, Pod},
    segment, storage,
};

/// The pending pod of the current process, for its socket in a network namespace that is no known pod's.
#[inline(always)]
pub fn find(netns: u64) -> Option<Pod> {
    let (levels, config) = expected()?;
    // Part of a container runtime may stand in the pod's cgroup and on the host's network.
    if netns == config.host_netns {
        return None;
    }
    for index in 0..Levels::MOST {
        let level = i32::from(levels.at(index)?);
        // SAFETY: the helper has no preconditions.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if cgroup == 0 {
            // The process stands higher.
            return None;
        }
        if let Some(pod) = checked(|| pod::read(PENDING_PODS.get_ptr(cgroup), cgroup)) {
            return Some(Pod {
                netns,
                pending: true,
                ..pod
            });
        }
    }
    None
}

/// The pending pod that asked for a connection, as the connect hook left it: socket operations run in nobody's name.
#[inline(always)]
pub fn asked(ctx: &SockOpsContext, netns: u64) -> Option<Pod> {
    expected()?;
    // SAFETY: the socket is this context's own.
    let sock = unsafe { storage::get(segment::socket(ctx)) }?;
    // SAFETY: the storage is this socket's own, and the socket's lock is held in these operations.
    let sock = unsafe { &*sock };
    (sock.flags & flag::PENDING != 0 && sock.netns == netns).then_some(Pod {
        netns,
        workload: sock.pod,
        seed: 0,
        flags: 0,
        pending: true,
        entered_ms: 0,
    })
}

/// Where pending pods are, if there are any and the mesh is on.
#[inline(always)]
fn expected() -> Option<(Levels, &'static Config)> {
    let config = CONFIG.get(0)?;
    // SAFETY: the element is valid. The agent may be writing it: half of the old and half of the new is nobody pending.
    let levels: Levels = unsafe { read_volatile(addr_of!(config.pending)) };
    (!levels.is_none() && config.flags & config::flag::DISABLED == 0).then_some((levels, config))
}

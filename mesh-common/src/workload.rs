//! Pods: the ones of this node by their network namespace, all of the cluster by their address.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::tag::Tagged;

/// Value of `PODS` and `PENDING_PODS`: who the sockets of a network namespace, or of the processes in a cgroup, belong to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PodRef {
    /// Workload id, checked by the hash of the key (see [`hash_cookie`]).
    pub workload: Tagged,
    /// What consistent hashing knows the client by: a hash of its first address, so that it is the same on
    /// every node and after every restart. Of a pod without one, a hash of its cgroup's id.
    pub seed: u32,
    /// When it was entered, in milliseconds of `CLOCK_MONOTONIC`, of which only the low half is kept: sockets and
    /// handshakes from before are not ours (see [`crate::decide::handshake`]).
    pub entered_ms: u32,
}

/// Hash of a network namespace cookie, or of a cgroup's id.
#[must_use]
#[inline(always)]
pub const fn hash_cookie(cookie: u64) -> u64 {
    crate::tag::mix(0, cookie)
}

/// Flags of the [`Tagged`] values in `WORKLOADS`, `PODS` and `PENDING_PODS`.
pub mod flag {
    /// The pod runs on this node.
    pub const LOCAL: u8 = 1;
    /// The pod is in the mesh.
    pub const ENROLLED: u8 = 1 << 1;
    /// The pod's owner asks for acceleration.
    pub const ACCELERATED: u8 = 1 << 2;
    /// The pod's namespace fails closed: nothing passes of which it is not known whether it may.
    pub const CLOSED: u8 = 1 << 3;
}

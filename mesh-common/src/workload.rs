//! Pods: the ones of this node by their network namespace, all of the cluster by their address.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::tag::Tagged;

/// Value of `PODS`: who the sockets of a network namespace belong to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PodRef {
    /// Workload id, checked by the hash of the cookie (see [`hash_cookie`]).
    pub workload: Tagged,
    /// What consistent hashing knows the client by: a hash of its first address, so that it is the same on
    /// every node and after every restart.
    pub seed: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Hash of a network namespace cookie.
#[must_use]
#[inline(always)]
pub const fn hash_cookie(cookie: u64) -> u64 {
    crate::tag::mix(0, cookie)
}

/// Flags of the [`Tagged`] values in `WORKLOADS` and `PODS`.
pub mod flag {
    /// The pod runs on this node.
    pub const LOCAL: u8 = 1;
    /// The pod is in the mesh.
    pub const ENROLLED: u8 = 1 << 1;
    /// The pod's owner asks for acceleration.
    pub const ACCELERATED: u8 = 1 << 2;
}

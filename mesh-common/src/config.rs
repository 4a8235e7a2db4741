//! What the programs read before anything else.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pending::Levels;

/// The one value of `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Config {
    /// [`crate::abi::ABI_VERSION`] of the agent that wrote it; 0 while the tables were never filled.
    pub abi: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Counts the agents that filled the tables, for operators.
    pub generation: u64,
    /// When the agent last began to write the tables, in nanoseconds of `CLOCK_MONOTONIC`: what it freed then
    /// must rest, also if another agent takes over.
    pub written_ns: u64,
    /// Service ids from here on were never used.
    pub services_touched: u32,
    /// Backend ids from here on were never used.
    pub backends_touched: u32,
    /// Slots from here on were never used.
    pub slots_touched: u32,
    /// Where in the hierarchy the cgroups of `PENDING_PODS` are.
    pub pending: Levels,
    /// Cookie of the host's network namespace, whose sockets are no pending pod's.
    pub host_netns: u64,
    /// Counts the changes of what policies say, wrapping: what was judged under another number is judged again.
    pub policy: u32,
    /// Always 0.
    pub reserved: u32,
}

impl Config {
    /// With a flag set or cleared.
    #[must_use]
    pub const fn with(self, flag: u32, on: bool) -> Self {
        let rest = self.flags & !flag;
        Self {
            flags: if on { rest | flag } else { rest },
            ..self
        }
    }
}

/// Flags of [`Config`].
pub mod flag {
    /// The kill switch: every program leaves every socket alone.
    pub const DISABLED: u32 = 1;
    /// Somebody watches the flows live: send events of opened connections, too.
    pub const WATCHED: u32 = 1 << 1;
    /// The start-up probe has passed for applications' sockets: they may be enrolled for the redirect.
    pub const ACCEL_APPLICATIONS: u32 = 1 << 2;
    /// The start-up probe has passed for the mesh's own sockets.
    pub const ACCEL_OWN: u32 = 1 << 3;
    /// An operator switched the redirect off: everything goes by TCP, also on enrolled sockets.
    pub const ACCEL_OFF: u32 = 1 << 4;
    /// What a policy refuses fails with EPERM instead of ECONNREFUSED.
    pub const DENY_WITH_EPERM: u32 = 1 << 5;
    /// A pod of this node has rules: the host's own sockets that connect to such pods are noted, so that they pass. Set before
    /// the first rules are written, and cleared after the last are gone. Without it nothing is noted, so that rules hold
    /// for the host, too.
    pub const POLICED: u32 = 1 << 6;
}

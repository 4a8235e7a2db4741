//! The two ways in which a packet program comes to an interface.

use std::{fmt, io, os::fd::BorrowedFd};

use crate::sys::bpf;

/// How a packet program is attached to an interface.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Way {
    /// A pinned tcx link (kernel 6.6 and newer).
    Tcx,
    /// A filter of our own in the interface's clsact qdisc.
    Clsact,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcx, Self::Clsact];

    /// What this kernel offers, asked with a program of the right type.
    ///
    /// # Errors
    /// The kernel's, where it says neither yes nor no.
    pub fn offered(program: BorrowedFd<'_>) -> io::Result<Self> {
        let tcx = bpf::has_tcx(program)?;
        Ok(if tcx { Self::Tcx } else { Self::Clsact })
    }

    /// The one that is not this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Tcx => Self::Clsact,
            Self::Clsact => Self::Tcx,
        }
    }

    /// Its name for users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! What the kernel runs for us at interfaces, in one way of attaching.

use std::collections::BTreeMap;

use super::{Way, clsact, tcx};
use crate::datapath::{hooks::Hook, pins::Pins};

/// Can be asked about many interfaces.
pub enum Survey<'a> {
    /// Each link is asked when its interface is.
    Links(&'a Pins),
    /// All filters, listed at once: ids of programs by name and interface; or why they can't be listed.
    Filters(Result<BTreeMap<(&'static str, u32), Option<u32>>, String>),
}

impl<'a> Survey<'a> {
    /// Looks.
    #[must_use]
    pub fn of(way: Way, pins: &'a Pins) -> Self {
        match way {
            Way::Tcx => Self::Links(pins),
            Way::Clsact => {
                let filters = clsact::installed().map(|filters| {
                    filters
                        .into_iter()
                        .map(|(hook, ifindex, program)| ((hook.program, ifindex), program))
                        .collect()
                });
                Self::Filters(filters.map_err(|error| error.to_string()))
            }
        }
    }

    /// Id of the program that runs for a hook at an interface.
    ///
    /// # Errors
    /// What is there instead, in words.
    pub fn running(&self, hook: Hook, ifindex: u32) -> Result<u32, String> {
        match self {
            Self::Links(pins) => {
                tcx::running(pins, hook, ifindex).unwrap_or_else(|error| Err(error.to_string()))
            }
            Self::Filters(filters) => {
                let program = filters
                    .as_ref()
                    .map_err(Clone::clone)?
                    .get(&(hook.program, ifindex));
                program
                    .copied()
                    .flatten()
                    .ok_or_else(|| "its clsact filter is gone".to_owned())
            }
        }
    }
}

//! Node-wide counters.

use mesh_common::counter::Counter;

use crate::maps::COUNTERS;

/// Adds one.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the element is this CPU's own, and programs of one hook do not nest.
        unsafe { *value += 1 };
    }
}

//! Whether a client with `ClientIP` affinity keeps its backend.

use crate::service::Affinity;

const NANOSECONDS: u64 = 1_000_000_000;

/// Whether the time-out since the client's last connection has not passed yet.
#[must_use]
#[inline(always)]
pub const fn holds(entry: &Affinity, timeout_seconds: u32, now_ns: u64) -> bool {
    now_ns.saturating_sub(entry.last_ns) < timeout_seconds as u64 * NANOSECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_the_time_out() {
        let entry = Affinity {
            last_ns: 5 * NANOSECONDS,
            backend: 1,
            reserved: 0,
        };
        assert!(holds(&entry, 10, 14 * NANOSECONDS));
        assert!(!holds(&entry, 10, 15 * NANOSECONDS));
        // Another CPU may have written a later time than ours.
        assert!(holds(&entry, 10, 4 * NANOSECONDS));
    }
}

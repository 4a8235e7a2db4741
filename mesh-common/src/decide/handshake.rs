//! Did a handshake begin when its pod was in the mesh already?
//!
//! No program sees the SYN come in. When the handshake is done, the kernel knows the time from its SYN-ACK to the
//! answer, unless it had to repeat the SYN-ACK.

/// Older handshakes than this, in milliseconds, nobody completes: `tcp_synack_retries` lets one live for a minute.
const LONGEST: u32 = 3_600_000;

/// A handshake that is done, and the entry of its pod.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// [`crate::workload::PodRef::entered_ms`].
    pub entered_ms: u32,
    /// Round-trip time, eight times microseconds; 0 where none was measured.
    pub srtt_us8: u32,
    /// SYN-ACKs sent again.
    pub retransmits: u32,
}

impl Handshake {
    /// Whether it certainly began after the pod was entered.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is compared")]
    pub const fn is_ours(&self) -> bool {
        let since = ((self.now_ns / 1_000_000) as u32).wrapping_sub(self.entered_ms);
        if since > LONGEST {
            return true;
        }
        // Both times are cut to whole milliseconds.
        let age = self.srtt_us8 / 8_000 + 1;
        self.retransmits == 0 && self.srtt_us8 != 0 && age < since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours(since_ms: u32, rtt_us: u32, retransmits: u32) -> bool {
        [0, 5_000, u32::MAX - 1].iter().all(|&entered_ms| {
            let now_ms = u64::from(entered_ms) + u64::from(since_ms);
            let handshake = Handshake {
                now_ns: now_ms * 1_000_000,
                entered_ms,
                srtt_us8: rtt_us * 8,
                retransmits,
            };
            handshake.is_ours()
        })
    }

    #[test]
    fn only_what_began_after_the_entry_for_sure_is_ours() {
        assert!(is_ours(3, 40, 0) && is_ours(1_000, 900_000, 0));
        for (since_ms, rtt_us, retransmits, why) in [
            (0, 40, 0, "in the same millisecond"),
            (1, 40, 0, "in the next"),
            (300, 300_000, 0, "began with the entry"),
            (300, 700_000, 0, "began before"),
            (300, 40, 1, "repeated: its age is not known"),
            (300, 0, 0, "not measured"),
            (LONGEST, LONGEST / 10, 9, "repeated for long"),
        ] {
            assert!(!is_ours(since_ms, rtt_us, retransmits), "{why}");
        }
        assert!(is_ours(LONGEST + 1, 0, 9), "nothing from before is left");
    }
}

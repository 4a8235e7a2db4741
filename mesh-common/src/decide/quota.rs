//! So much in each stretch of time, and no more.

/// Takes one of `most` in the stretch that `now_ns` lies in: the word to write, or `None` where all are used up. Stretches
/// of `stretch_ns` nanoseconds count from zero, wrapping.
///
/// Two packets that take at the same time may take the same one: nobody's safety hangs on the last of thousands.
#[must_use]
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "both halves of a word are cut to their width on purpose"
)]
pub const fn take(word: u64, now_ns: u64, stretch_ns: u64, most: u32) -> Option<u64> {
    let stretch = (now_ns / stretch_ns) << 32;
    let used = if (word >> 32) << 32 == stretch {
        word as u32
    } else {
        0
    };
    if used >= most {
        return None;
    }
    Some(stretch | (used + 1) as u64)
}

#[cfg(test)]
mod tests {
    use super::take;

    #[test]
    fn each_stretch_has_its_own() {
        let mut word = 0;
        let mut took = |now| {
            take(word, now, 10, 2).is_some_and(|next| {
                word = next;
                true
            })
        };
        let at = [0, 5, 9, 10, 11, 19, 35].map(&mut took);
        assert_eq!(at, [true, true, false, true, true, false, true]);
    }
}

//! Numbers that are given out, come back, rest, and are given out again.

use std::collections::{BTreeSet, VecDeque};
use std::iter;
use std::ops::Range;
use std::time::Duration;

use super::REST;

/// An id this far above every id in use was not given out and freed within [`REST`] before: no writer is
/// that fast.
const LEAP: u32 = 1 << 20;

/// The last workload id: no table is indexed by them.
pub(super) const LAST_WORKLOAD: u32 = u32::MAX - 1;

/// No id can be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoId;

/// The ids of one table: 1 up to and including a last one; 0 is nobody's.
///
/// Ids that were never given out go first, then those that have rested longest: an id is used again as late
/// as can be.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    last: u32,
    /// Not in use when the tables were adopted; a previous agent may have freed them just before.
    unknown: VecDeque<Range<u32>>,
    unknown_until: Duration,
    /// Certainly never given out.
    unused: Range<u32>,
    resting: BTreeSet<(Duration, u32)>,
    rested: BTreeSet<(Duration, u32)>,
}

impl Ids {
    /// The ids of a table that no program has read yet.
    pub(super) fn unused(last: u32) -> Self {
        Self {
            last,
            unknown: VecDeque::new(),
            unknown_until: Duration::ZERO,
            unused: 1..last.saturating_add(1),
            resting: BTreeSet::new(),
            rested: BTreeSet::new(),
        }
    }

    /// The ids of a table of which only those in use are known.
    ///
    /// From `touched` on, ids were never given out; where that is not known, a leap above the highest is.
    pub(super) fn adopt(last: u32, used: &BTreeSet<u32>, now: Duration, touched: Option<u32>) -> Self {
        let highest = used.last().copied().unwrap_or_default();
        let never = touched.map_or(highest.saturating_add(LEAP), |touched| touched.max(1) - 1);
        let leap = never.max(highest).min(last).saturating_add(1);
        let mut ids = Self {
            unused: leap..last.saturating_add(1),
            unknown_until: now + REST,
            ..Self::unused(last)
        };
        ids.unknown = gaps(1..leap, used);
        ids
    }

    /// The ids of a table that this agent wrote, after a write failed: what rested goes on resting, what is
    /// no longer in use begins to.
    pub(super) fn readopt(&self, used: &BTreeSet<u32>, now: Duration) -> Self {
        let foreign = used.last().is_some_and(|&id| id >= self.unused.start);
        if foreign {
            // Ids we never gave out: somebody else wrote the tables.
            return Self::adopt(self.last, used, now, None);
        }
        let mut ids = self.clone();
        ids.resting.retain(|(_, id)| !used.contains(id));
        ids.rested.retain(|(_, id)| !used.contains(id));
        let waiting = ids.resting.iter().chain(&ids.rested).map(|&(_, id)| id);
        let accounted: BTreeSet<u32> = used.iter().copied().chain(waiting).collect();
        let end = ids.unused.start;
        let mut from = 1;
        for unknown in ids.unknown.iter().cloned().chain(iter::once(end..end)) {
            let lost = gaps(from..unknown.start, &accounted);
            ids.resting.extend(lost.into_iter().flatten().map(|id| (now, id)));
            from = unknown.end;
        }
        ids.unknown = ids
            .unknown
            .drain(..)
            .flat_map(|range| gaps(range, used))
            .collect();
        ids
    }

    /// Gives out an id.
    pub(super) fn take(&mut self, now: Duration) -> Result<u32, NoId> {
        self.settle(now);
        if now >= self.unknown_until
            && let Some(range) = self.unknown.front_mut()
            && let Some(id) = range.next()
        {
            if range.start >= range.end {
                self.unknown.pop_front();
            }
            return Ok(id);
        }
        self.unused
            .next()
            .or_else(|| self.rested.pop_first().map(|(_, id)| id))
            .ok_or(NoId)
    }

    /// Takes back an id that a program may still hold.
    pub(super) fn rest(&mut self, id: u32, now: Duration) {
        if self.has(id) {
            self.resting.insert((now, id));
        }
    }

    /// Takes back an id that never reached the kernel.
    pub(super) fn put_back(&mut self, id: u32) {
        if self.has(id) {
            self.rested.insert((Duration::ZERO, id));
        }
    }

    /// Gives out, for what it stood for before, an id that has been at rest since that time.
    pub(super) fn revive(&mut self, id: u32, since: Duration) {
        if !self.resting.remove(&(since, id)) {
            self.rested.remove(&(since, id));
        }
    }

    /// How many can be had now.
    pub(super) fn free(&mut self, now: Duration) -> u32 {
        self.settle(now);
        let unknown = if now >= self.unknown_until {
            self.unknown_count()
        } else {
            0
        };
        unknown + count(self.unused.len()) + count(self.rested.len())
    }

    /// How many can be had later because they rest.
    pub(super) fn resting(&mut self, now: Duration) -> u32 {
        self.settle(now);
        let unknown = if now >= self.unknown_until {
            0
        } else {
            self.unknown_count()
        };
        unknown + count(self.resting.len())
    }

    fn has(&self, id: u32) -> bool {
        (1..=self.last).contains(&id)
    }

    fn unknown_count(&self) -> u32 {
        self.unknown.iter().map(|range| count(range.len())).sum()
    }

    fn settle(&mut self, now: Duration) {
        while let Some(&(since, id)) = self.resting.first()
            && since + REST <= now
        {
            self.resting.pop_first();
            self.rested.insert((since, id));
        }
    }
}

/// The parts of a range that are not used.
fn gaps(range: Range<u32>, used: &BTreeSet<u32>) -> VecDeque<Range<u32>> {
    let mut from = range.start;
    let mut gaps = VecDeque::new();
    for &id in used.range(range.clone()) {
        gaps.push_back(from..id);
        from = id + 1;
    }
    gaps.push_back(from..range.end);
    gaps.retain(|gap| !gap.is_empty());
    gaps
}

/// Counts of ids have 32 bits, as ids have.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ids_start_at_one_and_end_at_the_last() {
        let mut ids = Ids::unused(3);
        assert_eq!(ids.free(SECOND), 3);
        let taken: Vec<_> = (0..4).map(|_| ids.take(SECOND)).collect();
        assert_eq!(taken, [Ok(1), Ok(2), Ok(3), Err(NoId)]);
    }

    #[test]
    fn a_freed_id_rests_and_the_longest_rested_goes_first() {
        let mut ids = Ids::unused(2);
        let (one, two) = (ids.take(SECOND).unwrap(), ids.take(SECOND).unwrap());
        ids.rest(two, SECOND);
        ids.rest(one, 2 * SECOND);
        assert_eq!(ids.take(REST), Err(NoId));
        assert_eq!((ids.free(REST), ids.resting(REST)), (0, 2));
        assert_eq!(ids.take(REST + 2 * SECOND), Ok(two));
        assert_eq!(ids.take(REST + 2 * SECOND), Ok(one));
    }

    #[test]
    fn what_is_not_known_to_be_used_rests_after_adoption() {
        let mut ids = Ids::adopt(5, &BTreeSet::from([2, 4]), SECOND, None);
        assert_eq!(ids.take(SECOND), Err(NoId));
        assert_eq!(ids.resting(SECOND), 3);
        let taken: Vec<_> = (0..4).map(|_| ids.take(SECOND + REST)).collect();
        assert_eq!(taken, [Ok(1), Ok(3), Ok(5), Err(NoId)]);
    }

    #[test]
    fn far_above_every_used_id_nothing_can_rest() {
        let mut ids = Ids::adopt(u32::MAX, &BTreeSet::from([7]), SECOND, None);
        assert_eq!(ids.take(SECOND), Ok(7 + LEAP + 1));
        assert_eq!(ids.take(SECOND + REST), Ok(1));
    }

    #[test]
    fn readopting_keeps_the_time_of_rest_and_lets_the_lost_rest() {
        let mut ids = Ids::unused(5);
        for _ in 0..4 {
            ids.take(Duration::ZERO).unwrap();
        }
        ids.rest(1, SECOND);
        ids.rest(2, SECOND);
        // The kernel still uses 2 and 3; 4 was lost; 5 was never given out.
        let mut ids = ids.readopt(&BTreeSet::from([2, 3]), 5 * SECOND);
        assert_eq!(ids.take(6 * SECOND), Ok(5));
        assert_eq!(ids.take(6 * SECOND), Err(NoId));
        assert_eq!(ids.take(SECOND + REST), Ok(1));
        assert_eq!(ids.take(4 * SECOND + REST), Err(NoId));
        assert_eq!(ids.take(5 * SECOND + REST), Ok(4));
    }

    #[test]
    fn what_was_never_used_need_not_rest() {
        let mut ids = Ids::adopt(9, &BTreeSet::from([2]), SECOND, Some(5));
        let taken: Vec<_> = (0..6).map(|_| ids.take(SECOND)).collect();
        assert_eq!(taken, [Ok(5), Ok(6), Ok(7), Ok(8), Ok(9), Err(NoId)]);
        assert_eq!((ids.take(SECOND + REST), ids.take(SECOND + REST)), (Ok(1), Ok(3)));
    }
}

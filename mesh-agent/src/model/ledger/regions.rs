//! Regions of the load balancing table, which rest after use like ids do.

use std::collections::VecDeque;
use std::time::Duration;

use mesh_common::service::Region;

use super::REST;
use super::buddy::{Block, Buddy};

/// No region of that size can be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoRegion;

/// Who may write which slots.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    buddy: Buddy,
    resting: VecDeque<(Duration, Block)>,
    /// Until then, what is free may have been freed just before the tables were adopted.
    unknown_until: Duration,
}

impl Regions {
    /// The regions of a table that no program has read yet.
    pub(super) fn unused(slots: u32) -> Self {
        Self {
            buddy: Buddy::new(slots),
            resting: VecDeque::new(),
            unknown_until: Duration::ZERO,
        }
    }

    /// The regions of a table that a previous agent wrote; reserve the ones in use.
    pub(super) fn unknown(slots: u32, now: Duration) -> Self {
        Self {
            unknown_until: now + REST,
            ..Self::unused(slots)
        }
    }

    /// After a write failed: these regions, with what rested in `old` and what `old` had given to a service
    /// resting, as far as it is not in use.
    pub(super) fn inherit_rest(&mut self, old: &Self, given: impl Iterator<Item = Block>, now: Duration) {
        self.unknown_until = old.unknown_until;
        for &(since, block) in &old.resting {
            self.rest_free_parts(block, since);
        }
        for block in given {
            self.rest_free_parts(block, now);
        }
    }

    /// Narrows down what may have been freed before the adoption: below `touched`, what is not in use; above,
    /// nothing was ever used. To be called once what is in use is reserved.
    pub(super) fn rest_touched(&mut self, touched: u32, since: Duration) {
        self.unknown_until = Duration::ZERO;
        if touched > 0 {
            self.rest_free_parts(Block::holding(0, touched), since);
        }
    }

    /// Notes that a block is in use; whether it could be one of ours.
    pub(super) fn reserve(&mut self, block: Block) -> bool {
        self.buddy.reserve(block)
    }

    /// Takes a region with room for `len` slots.
    pub(super) fn take(&mut self, len: u32, now: Duration) -> Result<Block, NoRegion> {
        if !self.fits(len, now) {
            return Err(NoRegion);
        }
        self.buddy.take(len).ok_or(NoRegion)
    }

    /// Takes back a region that a program may still be reading.
    pub(super) fn rest(&mut self, block: Block, now: Duration) {
        self.resting.push_back((now, block));
    }

    /// Takes back a region that no program was pointed at.
    pub(super) fn put_back(&mut self, block: Block) {
        self.buddy.give_back(block);
    }

    /// Whether that many slots can be had now.
    pub(super) fn fits(&mut self, len: u32, now: Duration) -> bool {
        self.settle(now);
        now >= self.unknown_until && len <= Region::MAX_LEN && self.buddy.fits(len)
    }

    /// Number of slots that can be had now, in regions of any size.
    pub(super) fn free(&mut self, now: Duration) -> u32 {
        self.settle(now);
        if now < self.unknown_until {
            0
        } else {
            self.buddy.free_slots()
        }
    }

    /// Number of slots that can be had later because they rest.
    pub(super) fn resting(&mut self, now: Duration) -> u32 {
        self.settle(now);
        let unknown = if now < self.unknown_until {
            self.buddy.free_slots()
        } else {
            0
        };
        unknown + self.resting.iter().map(|(_, block)| block.len()).sum::<u32>()
    }

    fn settle(&mut self, now: Duration) {
        while let Some(&(since, block)) = self.resting.front()
            && since + REST <= now
        {
            self.resting.pop_front();
            self.buddy.give_back(block);
        }
    }

    fn rest_free_parts(&mut self, block: Block, since: Duration) {
        if self.buddy.reserve(block) {
            self.resting.push_back((since, block));
        } else if let Some(halves) = block.halves() {
            for half in halves {
                self.rest_free_parts(half, since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(7);

    #[test]
    fn a_freed_region_rests() {
        let mut regions = Regions::unused(4);
        let block = regions.take(3, NOW).unwrap();
        regions.rest(block, NOW);
        assert_eq!(regions.take(1, NOW), Err(NoRegion));
        assert_eq!((regions.free(NOW), regions.resting(NOW)), (0, 4));
        assert_eq!(regions.take(4, NOW + REST), Ok(block));
    }

    #[test]
    fn adopted_tables_rest_where_they_are_free() {
        let mut regions = Regions::unknown(8, NOW);
        assert!(regions.reserve(Block::holding(0, 4)));
        assert_eq!(regions.take(1, NOW), Err(NoRegion));
        assert_eq!(regions.resting(NOW), 4);
        assert_eq!(regions.take(4, NOW + REST), Ok(Block::holding(4, 4)));
    }

    #[test]
    fn rest_is_inherited_but_not_by_what_is_in_use() {
        let mut old = Regions::unused(16);
        let rested = old.take(4, NOW).unwrap();
        let given = old.take(4, NOW).unwrap();
        old.rest(rested, NOW);
        let later = NOW + REST / 2;
        let mut new = Regions::unknown(16, later);
        assert!(
            new.reserve(Block::holding(rested.offset, 2)),
            "half is in use again"
        );
        new.inherit_rest(&old, [given].into_iter(), later);
        assert_eq!((new.free(later), new.resting(later)), (8, 6));
        assert_eq!((new.free(NOW + REST), new.resting(NOW + REST)), (10, 4));
        assert_eq!(new.free(later + REST), 14);
    }

    #[test]
    fn what_was_never_used_need_not_rest() {
        let mut regions = Regions::unknown(16, NOW);
        assert!(regions.reserve(Block::holding(0, 2)));
        regions.rest_touched(5, NOW);
        assert_eq!((regions.free(NOW), regions.resting(NOW)), (8, 6));
        assert_eq!(regions.take(4, NOW).map(|block| block.offset >= 8), Ok(true));
        assert_eq!(regions.free(NOW + REST), 10);
    }
}

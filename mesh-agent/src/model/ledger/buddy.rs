//! A buddy allocator: power-of-two blocks, each aligned to its size, that merge again when freed.

use std::collections::BTreeSet;

/// Slots `offset..offset + 2^order`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Block {
    pub(super) offset: u32,
    pub(super) order: u8,
}

impl Block {
    /// The block that starts at an offset and holds that many slots (at least one).
    pub(super) fn holding(offset: u32, len: u32) -> Self {
        Self {
            offset,
            order: order_for(len),
        }
    }

    /// Number of slots.
    pub(super) const fn len(self) -> u32 {
        1 << self.order
    }

    /// Whether it could have come from an allocator.
    pub(super) const fn is_aligned(self) -> bool {
        self.offset.is_multiple_of(self.len())
    }

    /// The two blocks it consists of, unless it is a single slot.
    pub(super) const fn halves(self) -> Option<[Self; 2]> {
        let Some(order) = self.order.checked_sub(1) else {
            return None;
        };
        let low = Self {
            offset: self.offset,
            order,
        };
        let high = Self {
            offset: low.buddy(),
            order,
        };
        Some([low, high])
    }

    const fn buddy(self) -> u32 {
        self.offset ^ self.len()
    }
}

/// The order of the smallest block that holds that many slots.
fn order_for(len: u32) -> u8 {
    let order = len
        .max(1)
        .checked_next_power_of_two()
        .map_or(31, u32::trailing_zeros);
    u8::try_from(order).unwrap_or(31)
}

/// Free blocks of a table of slots.
#[derive(Clone, Debug)]
pub(super) struct Buddy {
    /// Offsets of the free blocks, by order.
    free: Vec<BTreeSet<u32>>,
    free_slots: u32,
}

impl Buddy {
    /// A table with that many slots (at most 2^31), all of them free; the number need not be a power of two.
    pub(super) fn new(slots: u32) -> Self {
        let mut free = vec![BTreeSet::new(); 32];
        let mut offset = 0;
        for order in (0..32).rev() {
            let len = 1_u32 << order;
            if slots & len != 0 {
                free[order].insert(offset);
                offset += len;
            }
        }
        Self {
            free,
            free_slots: slots,
        }
    }

    /// Takes the first of the smallest free blocks that hold that many slots.
    pub(super) fn take(&mut self, len: u32) -> Option<Block> {
        let order = order_for(len);
        let from = self.smallest_free(order)?;
        let offset = *self.free[usize::from(from)].first()?;
        let block = Block { offset, order };
        self.split(Block { offset, order: from }, block);
        Some(block)
    }

    /// Takes just this block; whether all of it was free.
    pub(super) fn reserve(&mut self, block: Block) -> bool {
        let whole = (block.order..32).find_map(|order| {
            let offset = block.offset >> order << order;
            self.free[usize::from(order)]
                .contains(&offset)
                .then_some(Block { offset, order })
        });
        match whole {
            Some(whole) if block.is_aligned() => {
                self.split(whole, block);
                true
            }
            _ => false,
        }
    }

    /// Gives a block back and merges it with its buddy while that is free too.
    pub(super) fn give_back(&mut self, block: Block) {
        self.free_slots += block.len();
        let mut block = block;
        while block.order < 31 && self.free[usize::from(block.order)].remove(&block.buddy()) {
            block = Block {
                offset: block.offset & !block.len(),
                order: block.order + 1,
            };
        }
        self.free[usize::from(block.order)].insert(block.offset);
    }

    /// Whether that many slots can be had in one block.
    pub(super) fn fits(&self, len: u32) -> bool {
        self.smallest_free(order_for(len)).is_some()
    }

    /// Number of free slots, in blocks of any size.
    pub(super) const fn free_slots(&self) -> u32 {
        self.free_slots
    }

    fn smallest_free(&self, order: u8) -> Option<u8> {
        (order..32).find(|&order| !self.free[usize::from(order)].is_empty())
    }

    /// Takes `part` out of the free block `whole`; the rest of it stays free.
    fn split(&mut self, whole: Block, part: Block) {
        self.free[usize::from(whole.order)].remove(&whole.offset);
        self.free_slots -= part.len();
        for order in (part.order..whole.order).rev() {
            // The half that `part` is not in: as `part`, with the bit of that half turned.
            let kept = (part.offset >> order << order) ^ (1 << order);
            self.free[usize::from(order)].insert(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn overlap(a: Block, b: Block) -> bool {
        a.offset < b.offset + b.len() && b.offset < a.offset + a.len()
    }

    #[test]
    fn a_table_of_any_size_can_be_taken_whole() {
        for slots in [1, 2, 3, 100, 1_000_000, 1 << 20] {
            let mut buddy = Buddy::new(slots);
            let mut taken = 0;
            while taken < slots {
                let len = 1 << (slots - taken).ilog2();
                let block = buddy.take(len).unwrap();
                assert!(block.offset + block.len() <= slots);
                taken += block.len();
            }
            assert_eq!((buddy.free_slots(), buddy.take(1)), (0, None));
        }
    }

    #[test]
    fn reserved_blocks_are_not_given_out() {
        let mut buddy = Buddy::new(8);
        let block = Block::holding(4, 3);
        assert!(buddy.reserve(block));
        assert!(!buddy.reserve(Block::holding(6, 1)), "inside a reserved one");
        assert!(!buddy.reserve(Block::holding(1, 2)), "not aligned");
        assert!(!buddy.reserve(Block::holding(8, 1)), "beyond the table");
        assert_eq!(buddy.take(4), Some(Block::holding(0, 4)));
        assert_eq!(buddy.take(1), None);
        buddy.give_back(block);
        assert!(buddy.fits(4));
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_nothing_leaks_and_all_merges_again(
            slots in 1_u32..3_000,
            steps in proptest::collection::vec((any::<bool>(), 1_u32..400, any::<prop::sample::Index>()), 1..200),
        ) {
            let empty = Buddy::new(slots);
            let mut buddy = empty.clone();
            let mut taken: Vec<Block> = Vec::new();
            for (take, len, which) in steps {
                if take || taken.is_empty() {
                    if let Some(block) = buddy.take(len) {
                        prop_assert!(block.len() >= len && block.len() < 2 * len && block.is_aligned());
                        prop_assert!(block.offset + block.len() <= slots);
                        prop_assert!(taken.iter().all(|&other| !overlap(block, other)));
                        taken.push(block);
                    } else {
                        prop_assert!(!buddy.fits(len));
                    }
                } else {
                    buddy.give_back(taken.swap_remove(which.index(taken.len())));
                }
                let used: u32 = taken.iter().map(|block| block.len()).sum();
                prop_assert_eq!(buddy.free_slots(), slots - used);

                let mut rebuilt = Buddy::new(slots);
                prop_assert!(taken.iter().all(|&block| rebuilt.reserve(block)));
                prop_assert_eq!(&rebuilt.free, &buddy.free);
            }
            for block in taken {
                buddy.give_back(block);
            }
            prop_assert_eq!(&buddy.free, &empty.free);
        }
    }
}

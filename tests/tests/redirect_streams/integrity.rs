//! Every byte of a long stream.

use anyhow::Result;
use harness::require_root;

use crate::block::Block;
use crate::line::on_both;
use crate::play::{self, Pace};
use harness::scaled;

/// Writes of 1 byte to 256 KiB, with pauses in which the reader may catch up.
const PACE: Pace = Pace {
    usual: 24 << 10,
    longest: 256 << 10,
    pause_one_in: 16,
    lag_one_in: 256,
};
/// Stamps of a block: 4 MiB, and no multiple of what the kernel handles at once.
const STAMPS: usize = (512 << 10) + 13;

#[test]
fn a_gibibyte_arrives_byte_by_byte_in_both_directions() -> Result<()> {
    require_root!();
    let total = usize::try_from(scaled(1 << 30, 128 << 20))?;
    let blocks = [Block::new(21, STAMPS), Block::new(22, STAMPS)];
    on_both("integrity", |line| {
        let pair = line.pair()?;
        play::exchange(&pair, [&blocks[0], &blocks[1]], total, PACE, 23)?;
        line.assert_redirected(10)
    })?;
    Ok(())
}

//! Order, while the path changes all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use harness::{require_root, twins::Path};

use crate::block::{Block, STAMP};
use crate::dice::Dice;
use crate::line::{Line, on_both};
use crate::play::{self, Pace};

/// Connections at once, each with a stream in both directions.
const FLOWS: usize = 4;
/// Stamped records of each stream: more than a million in all.
const RECORDS: usize = 130_000;
/// The least number of messages that must have taken each path.
const ENOUGH: u64 = 10_000;
const PACE: Pace = Pace {
    usual: 64,
    longest: 4 << 10,
    pause_one_in: 16,
    lag_one_in: 200,
};

#[test]
fn a_million_records_arrive_in_order_whatever_path_each_takes() -> Result<()> {
    require_root!();
    const { assert!(2 * FLOWS * RECORDS >= 1_000_000) };
    let blocks: Vec<Block> = (0..2 * FLOWS as u64)
        .map(|seed| Block::new(1 + seed, RECORDS))
        .collect();
    on_both("order", |line| {
        let pairs = line.pairs(FLOWS)?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let toggler = scope.spawn(|| toggle(line, &done));
            let flows: Vec<_> = pairs
                .iter()
                .zip(blocks.chunks_exact(2))
                .zip((0..).step_by(2))
                .map(|((pair, both), seed)| {
                    let both = [&both[0], &both[1]];
                    scope.spawn(move || play::exchange(pair, both, RECORDS * STAMP, PACE, seed))
                })
                .collect();
            let played: Result<()> = flows.into_iter().try_for_each(|flow| play::all([flow]));
            done.store(true, Ordering::Relaxed);
            played.and(play::all([toggler]))
        })?;
        let (redirected, passed) = line.sent()?;
        line.assert_redirected(ENOUGH)?;
        if line.path == Path::Redirect {
            assert!(
                passed.messages >= ENOUGH,
                "redirected {redirected:?}, passed {passed:?}"
            );
        }
        Ok(())
    })?;
    Ok(())
}

/// Turns the redirect off and on now and then; it is on in the end.
fn toggle(line: &Line<'_>, done: &AtomicBool) -> Result<()> {
    let mut dice = Dice::new(7);
    while !done.load(Ordering::Relaxed) {
        dice.pause(200_000);
        line.switch(false)?;
        dice.pause(50_000);
        line.switch(true)?;
    }
    Ok(())
}

//! Senders that close right after their data: all of it arrives, then the end.

use std::io::{Read as _, Write as _};
use std::thread;

use anyhow::Result;
use harness::require_root;

use crate::block::Block;
use crate::line::{Line, Pair, on_both};
use crate::play::{self, EAGER, Pace};
use harness::dice::Dice;

/// Connections made before their data is sent.
const BATCH: usize = 200;
const BATCHES: u64 = 10;
/// The most one of the many connections carries, in bytes.
const LONGEST: usize = 64 << 10;
/// Connections that carry more than any buffer holds.
const LONG_ROUNDS: u64 = 16;
/// The most each of those carries.
const LONG: usize = 3 << 20;
const LAGGING: Pace = Pace {
    usual: 64 << 10,
    longest: 256 << 10,
    pause_one_in: 50,
    lag_one_in: 4,
};

#[test]
fn thousands_of_connections_that_close_at_once_lose_nothing() -> Result<()> {
    require_root!();
    let block = Block::new(51, 8 << 10);
    on_both("close", |line| {
        (0..BATCHES).try_for_each(|seed| batch(line, &block, seed))
    })?;
    Ok(())
}

/// One thread sends and closes, one reads behind it; the dice say in which direction, and what.
fn batch(line: &Line<'_>, block: &Block, seed: u64) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut ends = Vec::new();
    for (near, far) in line.pairs(BATCH)? {
        let (sender, reader) = if dice.one_in(2) { (near, far) } else { (far, near) };
        let sizes: Vec<usize> = (0..=dice.below(3)).map(|_| dice.size(LONGEST / 3)).collect();
        ends.push((sender, reader, sizes));
    }
    let (senders, readers): (Vec<_>, Vec<_>) = ends
        .into_iter()
        .map(|(sender, reader, sizes)| {
            let total = sizes.iter().sum::<usize>();
            ((sender, sizes), (reader, total))
        })
        .unzip();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for (mut sender, sizes) in senders {
                let mut sent = 0;
                for size in sizes {
                    sender.write_all(block.at(sent, size))?;
                    sent += size;
                }
            }
            Ok(())
        });
        let reading = scope.spawn(|| {
            for (mut reader, total) in readers {
                let mut all = Vec::new();
                reader.read_to_end(&mut all)?;
                block.check(0, &all);
                assert_eq!(all.len(), total, "seed {seed}");
            }
            Ok(())
        });
        play::all([sending, reading])
    })
}

/// The end comes while bytes wait everywhere they can.
#[test]
fn slow_readers_get_all_that_was_sent_before_the_end() -> Result<()> {
    require_root!();
    let block = Block::new(52, 64 << 10);
    on_both("slow", |line| {
        let narrow = line.with_receive_buffer(64 << 10)?;
        for seed in 0..LONG_ROUNDS {
            let pair = if seed % 2 == 0 { line } else { &narrow }.pair()?;
            let total = Dice::new(seed).size(LONG);
            send_and_close(pair, &block, total, seed)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn send_and_close((near, far): Pair, block: &Block, total: usize, seed: u64) -> Result<()> {
    thread::scope(|scope| {
        let sending = scope.spawn(move || play::send(&near, block, total, EAGER, seed));
        let reading = scope.spawn(move || {
            play::receive(&far, block, total, LAGGING, seed)?;
            assert_eq!((&far).read(&mut [0])?, 0, "seed {seed}: more than was sent");
            Ok(())
        });
        play::all([sending, reading])
    })
}

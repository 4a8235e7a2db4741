//! Order, while the path changes all the time.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use harness::{require_root, twins::Path};
use rustix::net::sockopt::set_tcp_cork;

use crate::block::{Block, STAMP};
use crate::line::{Line, on_both};
use crate::play::{self, Pace};
use harness::dice::Dice;

/// Connections at once, each with a stream in both directions.
const FLOWS: usize = 4;
/// Stamped records of each stream: more than two million in all.
const RECORDS: usize = 300_000;
/// The least number of messages that must have taken each path.
const ENOUGH: u64 = 10_000;
const PACE: Pace = Pace {
    usual: 64,
    longest: 16 << 10,
    pause_one_in: 24,
    lag_one_in: 100,
};

#[test]
fn a_million_records_arrive_in_order_whatever_path_each_takes() -> Result<()> {
    require_root!();
    const { assert!(2 * FLOWS * RECORDS >= 1_000_000) };
    let blocks: Vec<Block> = (0..2 * FLOWS as u64)
        .map(|seed| Block::new(1 + seed, RECORDS))
        .collect();
    on_both("order", |line| {
        // Half of them hold bytes back in TCP more often: by Nagle's rule, and for lack of room at the peer.
        let mut pairs = line.pairs(FLOWS / 2)?;
        pairs.extend(line.with_receive_buffer(16 << 10)?.pairs(FLOWS / 2)?);
        for (near, far) in &pairs[FLOWS / 2..] {
            near.set_nodelay(false)?;
            far.set_nodelay(false)?;
        }
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

/// A corked connection keeps bytes in the sender's TCP: what follows must not leave before them.
#[test]
fn what_tcp_holds_back_is_not_overtaken() -> Result<()> {
    require_root!();
    let block = Block::new(11, 1_000);
    on_both("corked", |line| {
        let (near, mut far) = line.pair()?;
        for _ in 0..5 {
            line.switch(false)?;
            set_tcp_cork(&near, true)?;
            (&near).write_all(block.at(0, 100))?;
            line.switch(true)?;
            (&near).write_all(block.at(100, 100))?;
            set_tcp_cork(&near, false)?;
            let mut found = [0; 200];
            far.read_exact(&mut found)?;
            block.check(0, &found);
            (&near).write_all(block.at(0, 100))?;
            far.read_exact(&mut found[..100])?;
            block.check(0, &found[..100]);
        }
        line.assert_redirected(5)
    })?;
    Ok(())
}

/// A peer that is full keeps bytes in the sender's TCP; they are not overtaken while it reads its way out.
#[test]
fn bytes_that_wait_for_room_are_not_overtaken() -> Result<()> {
    require_root!();
    let block = Block::new(12, 64 << 10);
    on_both("room", |line| {
        let narrow = line.with_receive_buffer(16 << 10)?;
        for seed in 0..20 {
            let mut dice = Dice::new(seed);
            let (mut near, mut far) = narrow.pair()?;
            near.set_nonblocking(true)?;
            let (mut sent, mut taken) = (0, 0);
            let mut offer = |most: usize| -> Result<bool> {
                match near.write(block.at(sent, most)) {
                    Ok(more) => sent += more,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
                Ok(true)
            };
            offer(1)?;
            while offer(50_000)? {}
            let mut buffer = vec![0; 4_000];
            for _ in 0..300 {
                let room = dice.size(buffer.len());
                let got = far.read(&mut buffer[..room])?;
                block.check(taken, &buffer[..got]);
                taken += got;
                offer(dice.size(40))?;
            }
            play::rest(&far, &block, taken, sent)?;
            line.assert_redirected(1)?;
        }
        Ok(())
    })?;
    Ok(())
}

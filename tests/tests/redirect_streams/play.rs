//! Sends and receives streams, with sizes and pauses by the dice.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::block::{Block, PIECE};
use crate::line::{PATIENCE, Pair};
use harness::dice::Dice;

/// How a stream is sent and read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Most messages are as short as this, in bytes.
    pub usual: usize,
    /// One in a hundred is as long as this.
    pub longest: usize,
    /// The sender pauses before one message in so many.
    pub pause_one_in: usize,
    /// The reader lags behind before one read in so many.
    pub lag_one_in: usize,
}

/// Large pieces, hardly a pause.
pub const EAGER: Pace = Pace {
    usual: 64 << 10,
    longest: PIECE,
    pause_one_in: 1_000,
    lag_one_in: 1_000,
};

/// The longest pause of a sender, in microseconds.
const PAUSE_US: usize = 200;
/// The longest lag of a reader, in microseconds.
const LAG_US: usize = 4_000;

/// Sends the first `total` bytes of the stream.
pub fn send(mut to: &TcpStream, block: &Block, total: usize, pace: Pace, seed: u64) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut sent = 0;
    while sent < total {
        if dice.one_in(pace.pause_one_in) {
            dice.pause(PAUSE_US);
        }
        let most = if dice.one_in(100) {
            pace.longest
        } else {
            pace.usual
        };
        let size = (1 + dice.below(most)).min(total - sent);
        to.write_all(block.at(sent, size))
            .with_context(|| format!("seed {seed}: sending at {sent}"))?;
        sent += size;
    }
    Ok(())
}

/// Receives and checks the first `total` bytes of the stream, with calls that block.
pub fn receive(mut from: &TcpStream, block: &Block, total: usize, pace: Pace, seed: u64) -> Result<()> {
    check(block, total, pace, seed, |room| from.read(room))
}

/// As [`receive`], with poll and calls that do not block: on an enrolled socket, a call that blocks ends with
/// `EAGAIN` when another thread of the same end gets room to send.
fn receive_polling(from: &TcpStream, block: &Block, total: usize, pace: Pace, seed: u64) -> Result<()> {
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    check(block, total, pace, seed, |room| {
        loop {
            if poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&patience))? == 0 {
                return Err(ErrorKind::TimedOut.into());
            }
            match recv(from, &mut *room, RecvFlags::DONTWAIT) {
                Ok((got, _)) => return Ok(got),
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    })
}

fn check(
    block: &Block,
    total: usize,
    pace: Pace,
    seed: u64,
    mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Result<()> {
    let mut dice = Dice::new(!seed);
    let mut buffer = vec![0; PIECE];
    let mut read = 0;
    while read < total {
        if dice.one_in(pace.lag_one_in) {
            thread::sleep(Duration::from_micros(dice.below(LAG_US) as u64));
        }
        let room = dice.size(PIECE).min(total - read);
        let got = receive(&mut buffer[..room]).with_context(|| format!("seed {seed}: reading at {read}"))?;
        anyhow::ensure!(got != 0, "seed {seed}: the stream ends at {read} of {total}");
        block.check(read, &buffer[..got]);
        read += got;
    }
    Ok(())
}

/// Receives and checks what the stream carries from `start` to `end`.
pub fn rest(mut from: &TcpStream, block: &Block, start: usize, end: usize) -> Result<()> {
    let mut found = vec![0; PIECE];
    for position in (start..end).step_by(PIECE) {
        let len = PIECE.min(end - position);
        from.read_exact(&mut found[..len])?;
        block.check(position, &found[..len]);
    }
    Ok(())
}

/// Both directions at once, each with a block of its own.
pub fn exchange((near, far): &Pair, blocks: [&Block; 2], total: usize, pace: Pace, seed: u64) -> Result<()> {
    thread::scope(|scope| {
        let parts = [
            scope.spawn(|| send(near, blocks[0], total, pace, seed)),
            scope.spawn(|| receive_polling(far, blocks[0], total, pace, seed)),
            scope.spawn(|| send(far, blocks[1], total, pace, seed + 1)),
            scope.spawn(|| receive_polling(near, blocks[1], total, pace, seed + 1)),
        ];
        all(parts)
    })
}

/// Sends `total` bytes with calls of `step`, which gets what is due and says how much of it it sent; the other
/// end reads and checks meanwhile.
pub fn relay(
    (near, far): &Pair,
    block: &Block,
    total: usize,
    mut step: impl FnMut(&TcpStream, &[u8]) -> io::Result<usize>,
) -> Result<()> {
    let pace = Pace {
        lag_one_in: 32,
        ..EAGER
    };
    thread::scope(|scope| {
        let reader = scope.spawn(|| receive(far, block, total, pace, 0));
        let mut sent = 0;
        while sent < total {
            let due = block.at(sent, PIECE.min(total - sent));
            sent += step(near, due).with_context(|| format!("sending at {sent}"))?;
        }
        all([reader])
    })
}

/// Waits for all of them; the first panic or error is the caller's.
pub fn all<const N: usize>(threads: [thread::ScopedJoinHandle<'_, Result<()>>; N]) -> Result<()> {
    let results = threads.map(thread::ScopedJoinHandle::join);
    results
        .into_iter()
        .try_for_each(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

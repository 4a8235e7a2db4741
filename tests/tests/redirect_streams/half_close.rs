//! Half-closed connections, read with poll: `recv` may not block on an enrolled socket after its own
//! `shutdown(SHUT_WR)`.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use harness::twins::Path;
use harness::{require_root, until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::block::Block;
use crate::line::{Line, PATIENCE, Pair, on_both};
use crate::play::all;
use harness::dice::Dice;

const ROUNDS: usize = 150;
/// The longest request or response, in bytes.
const LONGEST: usize = 200_000;

/// Reads with poll until the stream ends; it carries exactly the first `total` bytes.
fn drain(mut from: &TcpStream, block: &Block, total: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let second = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let mut buffer = vec![0; 64 << 10];
    let mut read = 0;
    from.set_nonblocking(true)?;
    loop {
        ensure!(Instant::now() < deadline, "no end after {read} of {total} bytes");
        poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&second))?;
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => {
                block.check(read, &buffer[..got]);
                read += got;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(read == total, "the stream ended at {read} of {total}");
    Ok(())
}

#[test]
fn a_half_closed_connection_still_carries_the_answer() -> Result<()> {
    require_root!();
    let blocks = [Block::new(41, 64 << 10), Block::new(42, 64 << 10)];
    on_both("half-close", |line| {
        let mut dice = Dice::new(43);
        let mut pairs = line.pairs(ROUNDS)?;
        let mut redirected = 0;
        for pair in &mut pairs {
            if dice.one_in(2) {
                std::mem::swap(&mut pair.0, &mut pair.1);
            }
            let sizes = [dice.size(LONGEST) - 1, dice.size(LONGEST) - 1];
            redirected += ask(line, pair, &blocks, sizes)?;
        }
        if line.path == Path::Redirect {
            assert!(redirected >= ROUNDS as u64 / 2, "{redirected}");
        }
        Ok(())
    })?;
    Ok(())
}

/// Answers how many messages of the question went by redirect, as far as the kernel still knows.
fn ask(line: &Line<'_>, (asking, answering): &Pair, blocks: &[Block; 2], sizes: [usize; 2]) -> Result<u64> {
    fn say(mut to: &TcpStream, block: &Block, total: usize) -> Result<()> {
        for start in (0..total).step_by(10_000) {
            to.write_all(block.at(start, 10_000.min(total - start)))?;
        }
        to.shutdown(Shutdown::Write)?;
        Ok(())
    }
    let mut redirected = 0;
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            say(asking, &blocks[0], sizes[0])?;
            drain(asking, &blocks[1], sizes[1])
        });
        let answered = scope.spawn(|| {
            drain(answering, &blocks[0], sizes[0])?;
            // The sockets of earlier rounds have ended, and count no more.
            redirected = line.sent()?.0.messages;
            answering.set_nonblocking(false)?;
            say(answering, &blocks[1], sizes[1])
        });
        all([asked, answered])
    })?;
    Ok(redirected)
}

/// What waits unread when the reader shuts its own direction down stays readable, even when TCP is done with
/// the connection before it is read.
#[test]
fn unread_bytes_outlive_both_directions() -> Result<()> {
    const BYTES: usize = 5_000;
    require_root!();
    let block = Block::new(44, 1_000);
    let send = |line: &Line<'_>| -> Result<Pair> {
        let (reader, mut sender) = line.pair()?;
        sender.write_all(block.at(0, BYTES))?;
        line.assert_redirected(1)?;
        Ok((reader, sender))
    };
    on_both("unread", |line| {
        // The reader shuts down first, and is in TIME-WAIT when it reads.
        let (reader, sender) = send(line)?;
        reader.shutdown(Shutdown::Write)?;
        drain(&sender, &block, 0)?;
        drop(sender);
        assert!(until(PATIENCE, || ended(&reader)), "no end");
        drain(&reader, &block, BYTES)?;
        // The sender closes first, and the reader is past LAST-ACK when it reads.
        let (reader, sender) = send(line)?;
        drop(sender);
        assert!(until(PATIENCE, || ended(&reader)), "no end");
        reader.shutdown(Shutdown::Write)?;
        thread::sleep(std::time::Duration::from_millis(20));
        drain(&reader, &block, BYTES)
    })?;
    Ok(())
}

/// Whether the other end's FIN came in.
fn ended(stream: &TcpStream) -> bool {
    let now = Timespec::default();
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::RDHUP)
}

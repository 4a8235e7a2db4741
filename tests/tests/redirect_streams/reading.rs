//! Ways of reading: what is waiting is told right, nothing wakes too late, and waiting ends when it should.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{require_root, until};
use rustix::event::{Timespec, epoll};
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};

use crate::block::Block;
use crate::line::{Line, PATIENCE, Pair, on_both};
use crate::play;
use harness::dice::Dice;

/// How long TCP may take on a busy machine, and more.
const SOON: Duration = Duration::from_secs(5);

/// Sends a few bytes by redirect if that is on, else by TCP.
fn say(mut to: &TcpStream, block: &Block, from: usize, len: usize) -> Result<()> {
    Ok(to.write_all(block.at(from, len))?)
}

/// 100 bytes by redirect, then 50 by TCP; both wait unread.
fn mixed(line: &Line<'_>, block: &Block) -> Result<Pair> {
    let pair = line.pair()?;
    say(&pair.0, block, 0, 100)?;
    line.assert_redirected(1)?;
    line.switch(false)?;
    say(&pair.0, block, 100, 50)?;
    line.switch(true)?;
    Ok(pair)
}

#[test]
fn fionread_tells_all_that_waits_on_either_path() -> Result<()> {
    require_root!();
    let block = Block::new(71, 1_000);
    on_both("fionread", |line| {
        #[track_caller]
        fn assert_waiting(far: &TcpStream, bytes: u64) {
            let mut told = Ok(0);
            let right = until(SOON, || {
                told = ioctl_fionread(far);
                told == Ok(bytes)
            });
            assert!(right, "{told:?} where {bytes} bytes wait");
        }
        let (near, mut far) = mixed(line, &block)?;
        assert_waiting(&far, 150);
        let mut buffer = [0; 150];
        for (start, end) in [(0, 40), (40, 100), (100, 120), (120, 150)] {
            far.read_exact(&mut buffer[start..end])?;
            assert_waiting(&far, 150 - end as u64);
        }
        block.check(0, &buffer);
        // Either alone.
        line.switch(false)?;
        say(&near, &block, 150, 70)?;
        assert_waiting(&far, 70);
        far.read_exact(&mut buffer[..70])?;
        block.check(150, &buffer[..70]);
        assert_waiting(&far, 0);
        line.switch(true)?;
        say(&near, &block, 220, 80)?;
        assert_waiting(&far, 80);
        line.assert_redirected(2)
    })?;
    Ok(())
}

#[test]
fn peeking_takes_nothing_away() -> Result<()> {
    require_root!();
    let block = Block::new(72, 1_000);
    on_both("peek", |line| {
        let (_near, mut far) = mixed(line, &block)?;
        assert!(until(SOON, || ioctl_fionread(&far).is_ok_and(|bytes| bytes == 150)));
        let mut buffer = [0; 150];
        let mut peek = |far: &TcpStream, position, room: usize| -> Result<usize> {
            let (got, _) = recv(far, &mut buffer[..room], RecvFlags::PEEK)?;
            block.check(position, &buffer[..got]);
            Ok(got)
        };
        for _ in 0..3 {
            assert_eq!(peek(&far, 0, 60)?, 60);
        }
        assert!(peek(&far, 0, 150)? >= 100, "what came first by either path");
        let mut some = [0; 30];
        far.read_exact(&mut some)?;
        block.check(0, &some);
        assert_eq!(peek(&far, 30, 70)?, 70);
        let mut rest = [0; 120];
        far.read_exact(&mut rest)?;
        block.check(30, &rest);
        Ok(())
    })?;
    Ok(())
}

/// The reader reads on an event only, until nothing is left: a wake-up that is missing stops it.
#[test]
fn an_edge_triggered_reader_is_always_woken() -> Result<()> {
    const MESSAGES: usize = 20_000;
    const LONGEST: usize = 2_000;
    require_root!();
    let block = Block::new(73, 64 << 10);
    let mut dice = Dice::new(74);
    let sizes: Vec<usize> = (0..MESSAGES).map(|_| dice.size(LONGEST)).collect();
    let total = sizes.iter().sum();
    on_both("edge", |line| {
        let (near, far) = line.pair()?;
        far.set_nonblocking(true)?;
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut dice = Dice::new(75);
                let mut sent = 0;
                for (number, size) in sizes.iter().enumerate() {
                    if number == MESSAGES / 2 {
                        line.switch(false)?;
                    } else if number == MESSAGES / 2 + 2_000 {
                        line.switch(true)?;
                    }
                    if dice.one_in(8) {
                        dice.pause(200);
                    }
                    say(&near, &block, sent, *size)?;
                    sent += size;
                }
                Ok(())
            });
            let reading = scope.spawn(|| read_by_edges(&far, &block, total));
            play::all([sending, reading])
        })?;
        line.assert_redirected(1_000)
    })?;
    Ok(())
}

fn read_by_edges(mut far: &TcpStream, block: &Block, total: usize) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edges = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    epoll::add(&epoll, far, epoll::EventData::new_u64(0), edges)?;
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let mut buffer = [0; 3_000];
    let mut read = 0;
    while read < total {
        let mut events = Vec::with_capacity(1);
        epoll::wait(
            &epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&patience),
        )?;
        ensure!(!events.is_empty(), "no event at {read} of {total}");
        loop {
            match far.read(&mut buffer) {
                Ok(0) => anyhow::bail!("the end at {read} of {total}"),
                Ok(got) => {
                    block.check(read, &buffer[..got]);
                    read += got;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[test]
fn a_receive_timeout_ends_the_wait_and_no_sooner() -> Result<()> {
    const TIMEOUT: Duration = Duration::from_millis(100);
    require_root!();
    let block = Block::new(76, 1_000);
    on_both("timeout", |line| {
        let (near, mut far) = line.pair()?;
        let mut buffer = [0; 100];
        // Also where something came, and was read, by either path before.
        for (step, redirect) in [true, false, true].into_iter().enumerate() {
            line.switch(redirect)?;
            far.set_read_timeout(Some(TIMEOUT))?;
            let start = Instant::now();
            let error = far.read(&mut buffer).err().map(|error| error.kind());
            assert_eq!(error, Some(ErrorKind::WouldBlock));
            // The kernel counts in ticks.
            let early = Duration::from_millis(10);
            assert!(start.elapsed() + early >= TIMEOUT, "after {:?}", start.elapsed());
            assert!(start.elapsed() < SOON, "after {:?}", start.elapsed());
            far.set_read_timeout(Some(PATIENCE))?;
            thread::scope(|scope| {
                let late = scope.spawn(|| {
                    thread::sleep(TIMEOUT / 2);
                    say(&near, &block, step * 100, 100)
                });
                let start = Instant::now();
                far.read_exact(&mut buffer)?;
                assert!(start.elapsed() < SOON, "after {:?}", start.elapsed());
                play::all([late])
            })?;
            block.check(step * 100, &buffer);
        }
        line.assert_redirected(2)
    })?;
    Ok(())
}

/// A call that blocks may end with `EAGAIN` on an enrolled socket, when another thread of the same end gets room to
/// send (`tcp_msg_wait_data` takes any wake-up for data). Whoever reads on then misses nothing.
#[test]
fn a_blocked_reader_beside_a_sender_misses_nothing() -> Result<()> {
    const QUESTIONS: usize = 400;
    const ANSWERS: usize = 32 << 20;
    require_root!();
    let block = Block::new(77, 64 << 10);
    let [tcp, redirect] = on_both("beside", |line| {
        let (near, far) = line.pair()?;
        let lagging = play::Pace {
            lag_one_in: 8,
            ..play::EAGER
        };
        let mut again = 0;
        thread::scope(|scope| {
            let sending = scope.spawn(|| play::send(&near, &block, ANSWERS, play::EAGER, 78));
            let receiving = scope.spawn(|| play::receive(&far, &block, ANSWERS, lagging, 78));
            let asking = scope.spawn(|| {
                let mut dice = Dice::new(79);
                (0..QUESTIONS).try_for_each(|number| {
                    dice.pause(1_000);
                    say(&far, &block, number, 1)
                })
            });
            let start = Instant::now();
            let mut read = 0;
            while read < QUESTIONS {
                let mut some = [0; 100];
                match (&near).read(&mut some) {
                    Ok(0) => anyhow::bail!("the end at {read} of {QUESTIONS}"),
                    Ok(got) => {
                        block.check(read, &some[..got]);
                        read += got;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => again += 1,
                    Err(error) => return Err(error.into()),
                }
                ensure!(start.elapsed() < PATIENCE, "{read} of {QUESTIONS}");
            }
            play::all([sending, receiving, asking])
        })?;
        line.assert_redirected(100)?;
        Ok(again)
    })?;
    println!("told to try again: TCP {tcp}, redirect {redirect}");
    assert_eq!(tcp, 0);
    Ok(())
}

//! The checks. Each answers `None` where the kernel behaves, else what was seen.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use mesh_common::decide::guard::QUEUE_LIMIT;
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll, poll},
    io::ioctl_fionread,
    net::sockopt::set_tcp_cork,
};

use super::{
    Check, ProbeError,
    pair::{Bench, Pair},
};

/// Longer than loopback ever takes.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// More than TCP takes from a sender whose peer does not read, in bytes.
const BOUND: usize = 32 << 20;
/// Rounds of changing paths.
const ROUNDS: u32 = 200;

type Seen = Result<Option<String>, ProbeError>;

/// Runs one check on a new pair.
pub fn run(check: Check, bench: &mut Bench) -> Seen {
    bench.switch(true)?;
    let mut pair = bench.pair()?;
    match check {
        Check::Order => order(bench, &mut pair),
        Check::WakeUp => wake_up(bench, &mut pair),
        Check::BackPressure => back_pressure(&mut pair),
        Check::Charge => charge(bench, &mut pair),
        Check::FionreadRedirected => fionread(bench, &mut pair, true),
        Check::FionreadTcp => fionread(bench, &mut pair, false),
    }
}

/// Numbered records, by TCP and by redirect in turn, read now and then: every path follows every other, with
/// unread bytes and without.
fn order(bench: &mut Bench, pair: &mut Pair) -> Seen {
    if let Some(wrong) = held_back(bench, pair)? {
        return Ok(Some(wrong));
    }
    let (mut sent, mut read) = (0_u32, 0_u32);
    for round in 0..ROUNDS {
        bench.switch(round % 3 != 0)?;
        for _ in 0..=round % 4 {
            pair.left.write_all(&sent.to_be_bytes())?;
            sent += 1;
        }
        let until = if round % 5 == 0 { sent } else { sent - round % 2 };
        while read < until {
            let mut record = [0; 4];
            if !read_exact(&mut pair.right, &mut record)? {
                return Ok(Some(format!("record {read} did not arrive")));
            }
            let found = u32::from_be_bytes(record);
            if found != read {
                return Ok(Some(format!("read record {found} where {read} was due")));
            }
            read += 1;
        }
    }
    Ok(match bench.redirected(&pair.left)? {
        0 => Some("nothing was redirected".to_owned()),
        _ => None,
    })
}

/// Bytes that TCP holds back on the sender's side are not overtaken; not even if the kernel counts redirected
/// bytes that were read (`copied_seq`) as if they were TCP's, of which there are as many before.
fn held_back(bench: &mut Bench, pair: &mut Pair) -> Seen {
    let mut record = [0; 4];
    pair.left.write_all(b"past")?;
    let first = read_exact(&mut pair.right, &mut record)? && record == *b"past";
    bench.switch(false)?;
    set_tcp_cork(&pair.left, true).map_err(io::Error::from)?;
    pair.left.write_all(b"held")?;
    bench.switch(true)?;
    pair.left.write_all(b"next")?;
    set_tcp_cork(&pair.left, false).map_err(io::Error::from)?;
    let second = read_exact(&mut pair.right, &mut record)? && record == *b"held";
    let third = read_exact(&mut pair.right, &mut record)? && record == *b"next";
    let right = first && second && third;
    Ok((!right).then(|| "bytes that TCP held back were overtaken".to_owned()))
}

/// The reader waits, edge-triggered, before the message is sent.
fn wake_up(bench: &Bench, pair: &mut Pair) -> Seen {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
    let wanted = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, &pair.right, epoll::EventData::new_u64(0), wanted).map_err(io::Error::from)?;
    for round in 0..3 {
        pair.left.write_all(b"wake")?;
        if !woken(&epoll)? {
            return Ok(Some(format!("message {round} woke nobody")));
        }
        let mut bytes = [0; 4];
        if !read_exact(&mut pair.right, &mut bytes)? {
            return Ok(Some(format!("message {round} did not arrive")));
        }
    }
    Ok(match bench.redirected(&pair.left)? {
        12 => None,
        bytes => Some(format!("{bytes} of 12 bytes were redirected")),
    })
}

fn woken(epoll: &OwnedFd) -> io::Result<bool> {
    let patience = timespec(PATIENCE);
    loop {
        let mut events = Vec::with_capacity(1);
        let room = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(epoll, room, Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            waited => {
                waited?;
                return Ok(!events.is_empty());
            }
        }
    }
}

/// A receiver that does not read must stop its sender, and lose nothing.
fn back_pressure(pair: &mut Pair) -> Seen {
    let chunk = vec![0x5a_u8; 16 << 10];
    let mut sent = 0;
    while let Some(count) = unless_blocked(pair.left.write(&chunk))? {
        sent += count;
        if sent > BOUND {
            return Ok(Some(format!("took {sent} bytes that nobody reads")));
        }
    }
    let (mut read, mut buffer) = (0, vec![0_u8; 64 << 10]);
    while read < sent {
        let most = buffer.len().min(sent - read);
        match read_some(&mut pair.right, &mut buffer[..most])? {
            0 => return Ok(Some(format!("{read} of {sent} bytes arrived"))),
            count => read += count,
        }
    }
    Ok(None)
}

/// The guard knows how long the receiver's queue is by what is charged to the socket.
fn charge(bench: &Bench, pair: &mut Pair) -> Seen {
    let limit = u64::from(QUEUE_LIMIT);
    let chunk = vec![0_u8; 8 << 10];
    for _ in 0..2 * limit / chunk.len() as u64 {
        if unless_blocked(pair.left.write(&chunk))?.is_none() {
            break;
        }
    }
    Ok(match bench.redirected(&pair.left)? {
        0 => Some("nothing was redirected".to_owned()),
        bytes if bytes > limit => Some(format!(
            "{bytes} unread bytes were redirected, {limit} are allowed"
        )),
        _ => None,
    })
}

fn fionread(bench: &mut Bench, pair: &mut Pair, redirect: bool) -> Seen {
    const LEN: usize = 100;
    bench.switch(redirect)?;
    pair.left.write_all(&[0; LEN])?;
    if !readable(&pair.right)? {
        return Ok(Some("the bytes did not arrive".to_owned()));
    }
    let told = ioctl_fionread(&pair.right).map_err(io::Error::from)?;
    let redirected = bench.redirected(&pair.left)?;
    let expected = if redirect { LEN as u64 } else { 0 };
    if redirected != expected {
        return Ok(Some(format!(
            "{redirected} bytes were redirected, not {expected}"
        )));
    }
    Ok((told != LEN as u64).then(|| format!("told {told} of {LEN} bytes")))
}

/// Reads all of it; `false` where it does not come in time.
fn read_exact(socket: &mut TcpStream, mut into: &mut [u8]) -> io::Result<bool> {
    while !into.is_empty() {
        match read_some(socket, into)? {
            0 => return Ok(false),
            count => into = &mut into[count..],
        }
    }
    Ok(true)
}

/// Reads some bytes; 0 where none come in time, or ever. That a socket is said to be readable and is not, over and
/// over, is among what a broken redirect does: all of it has one deadline.
fn read_some(socket: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && readable(socket)? {
        if let Some(count) = unless_blocked(socket.read(into))? {
            return Ok(count);
        }
    }
    Ok(0)
}

fn readable(socket: &TcpStream) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = timespec(deadline.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

fn unless_blocked(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        done => done.map(Some),
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or_default()
}

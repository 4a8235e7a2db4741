//! A peer that does not read stops its sender about where TCP does, and the memory that waits is TCP's.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::{Pod, require, require_root, until};

use crate::block::{Block, PIECE};
use crate::line::{Line, PATIENCE, on_both};

/// A sender that could not send for so long is stopped.
const STOPPED: Duration = Duration::from_millis(300);
/// More than anything may accept.
const BOUND: usize = 64 << 20;
/// Receive buffers in bytes, `None` for the kernel's own choice, and sizes of writes.
const CASES: [(Option<usize>, usize); 5] = [
    (Some(64 << 10), 100),
    (Some(64 << 10), PIECE),
    (None, 100),
    (None, 16 << 10),
    (None, PIECE),
];

/// What one case took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Bytes the sender could send.
    accepted: usize,
    /// Bytes of the kernel's memory that both sockets are charged for.
    memory: usize,
}

#[test]
fn a_peer_that_does_not_read_stops_its_sender_where_tcp_does() -> Result<()> {
    require_root!();
    require!(harness::require::program("ss"));
    let block = Block::new(31, 64 << 10);
    let [tcp, redirect] = on_both("pressure", |line| {
        CASES
            .iter()
            .map(|case| stuff(line, *case, &block))
            .collect::<Result<Vec<_>>>()
    })?;
    for ((case, tcp), redirect) in CASES.iter().zip(tcp).zip(redirect) {
        let both = format!("{case:?}: TCP {tcp:?}, redirect {redirect:?}");
        println!("{both}");
        assert!(redirect.accepted <= 2 * tcp.accepted, "{both}");
        assert!(redirect.memory <= 2 * tcp.memory, "{both}");
    }
    Ok(())
}

/// Sends until the peer's silence stops it; then the peer reads all of it.
fn stuff(line: &Line<'_>, (receive_buffer, size): (Option<usize>, usize), block: &Block) -> Result<Taken> {
    let own = receive_buffer
        .map(|bytes| line.with_receive_buffer(bytes))
        .transpose()?;
    let pair = own.as_ref().unwrap_or(line).pair()?;
    let (near, far) = &pair;
    // The first message goes by redirect whatever the size of the others.
    let accepted = fill(near, size, block)?;
    line.assert_redirected(1)?;
    let pods = [&line.twins.client, &line.twins.server];
    let memory = pods.map(charged).into_iter().sum::<Result<usize>>()?;
    far.set_nonblocking(false)?;
    crate::play::receive(far, block, accepted, crate::play::EAGER, 32)?;
    Ok(Taken { accepted, memory })
}

fn fill(mut near: &TcpStream, size: usize, block: &Block) -> Result<usize> {
    near.set_nonblocking(true)?;
    let mut accepted = near.write(block.at(0, 1))?;
    let mut last = Instant::now();
    while last.elapsed() < STOPPED {
        ensure!(accepted < BOUND, "accepted {accepted} bytes, and more");
        match near.write(block.at(accepted, size)) {
            Ok(sent) => {
                accepted += sent;
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(accepted)
}

/// Memory of the only connection of a pod, in bytes: what waits (`sk_rmem_alloc`, `sk_wmem_queued`), and what is
/// reserved beyond (`sk_forward_alloc`, negative where bytes that wait are not charged to the host).
fn charged(pod: &Pod) -> Result<usize> {
    let shown = pod.command("ss").args(["-tnmH", "state", "connected"]).output()?;
    let text = String::from_utf8(shown.stdout)?;
    let (_, figures) = text
        .split_once("skmem:(r")
        .with_context(|| format!("no connection in {text:?}"))?;
    let figure = |name: &str| -> Result<u32> {
        let digits = if name.is_empty() {
            Some(figures)
        } else {
            figures.split(name).nth(1)
        };
        let digits = digits.and_then(|rest| rest.split(',').next());
        Ok(digits
            .with_context(|| format!("no {name} in {text:?}"))?
            .parse()?)
    };
    let waiting = usize::try_from(figure("")? + figure(",w")?)?;
    let reserved = figure(",f")?.cast_signed().max(0);
    Ok(waiting + usize::try_from(reserved)?)
}

/// Pages of the host's memory for TCP.
fn pages() -> Result<usize> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .context("TCP's line")?;
    Ok(line.rsplit(' ').next().context("a figure")?.parse()?)
}

/// Other tests use TCP's memory, too, but only for a while.
#[test]
fn redirected_bytes_leave_no_memory_charged() -> Result<()> {
    /// Less than one byte for each message, in pages.
    const FEW: usize = 2_000;
    const MESSAGES: usize = 50_000;
    const _: () = assert!(MESSAGES * 256 > FEW * 4096);
    require_root!();
    let block = Block::new(33, 1_000);
    on_both("charge", |line| {
        let before = pages()?;
        let (mut near, mut far) = line.pair()?;
        let mut buffer = [0; 400];
        for message in 0..MESSAGES {
            near.write_all(block.at(message, buffer.len()))?;
            io::Read::read_exact(&mut far, &mut buffer)?;
            block.check(message, &buffer);
        }
        line.assert_redirected(MESSAGES as u64)?;
        drop((near, far));
        let mut after = 0;
        let settled = until(PATIENCE, || {
            pages().is_ok_and(|now| {
                after = now;
                now < before + FEW
            })
        });
        assert!(settled, "{before} pages before, {after} after");
        Ok(())
    })?;
    Ok(())
}

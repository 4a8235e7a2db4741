//! Streams in which every byte tells its place: nothing can be lost, doubled or overtaken unseen.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use harness::twins::Twins;

/// How long any single step may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A place in a stream.
#[derive(Debug, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// The next bytes.
    pub fn next(&mut self, len: usize) -> Vec<u8> {
        let bytes = (self.0..).take(len).map(byte).collect();
        self.0 += len as u64;
        bytes
    }

    /// Takes bytes that must be the next.
    pub fn check(&mut self, bytes: &[u8]) -> Result<()> {
        for &found in bytes {
            let expected = byte(self.0);
            ensure!(found == expected, "byte {} is {found}, not {expected}", self.0);
            self.0 += 1;
        }
        Ok(())
    }

    /// How many bytes there were.
    pub fn count(&self) -> u64 {
        self.0
    }
}

/// Byte `at` of the stream: a piece of a number that stands nowhere else.
fn byte(at: u64) -> u8 {
    (at / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
        [usize::try_from(at % 8).unwrap_or_default()]
}

/// Makes a socket give up after [`PATIENCE`].
pub fn patient(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A connection between the pods whose ends give up after [`PATIENCE`].
pub fn connect(twins: &Twins) -> Result<(TcpStream, TcpStream)> {
    let (near, far) = twins.connect()?;
    Ok((patient(near)?, patient(far)?))
}

/// Question and answer of 64 bytes, `rounds` times.
pub fn echo(near: &TcpStream, far: &TcpStream, rounds: u32) -> Result<()> {
    echo_from(&mut [Stamp::default(), Stamp::default()], near, far, rounds)
}

fn echo_from(
    [there, back]: &mut [Stamp; 2],
    mut near: &TcpStream,
    mut far: &TcpStream,
    rounds: u32,
) -> Result<()> {
    let mut bytes = [0; 64];
    for round in 0..rounds {
        let sent = there.next(bytes.len());
        near.write_all(&sent)?;
        far.read_exact(&mut bytes)
            .with_context(|| format!("question {round}"))?;
        back.check(&bytes)?;
        far.write_all(&bytes)?;
        near.read_exact(&mut bytes)
            .with_context(|| format!("answer {round}"))?;
        ensure!(bytes[..] == sent, "answer {round}");
    }
    Ok(())
}

/// Reads the next `len` bytes of the stream.
pub fn receive(mut socket: &TcpStream, stamp: &mut Stamp, len: usize) -> Result<()> {
    let mut bytes = vec![0; len];
    socket.read_exact(&mut bytes)?;
    stamp.check(&bytes)
}

/// Stamped bytes both ways, in pieces of all sizes, until it is told to stop.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<u64>>>,
}

impl Traffic {
    /// Starts it.
    pub fn start(near: &TcpStream, far: &TcpStream) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (from, to) in [(near, far), (far, near)] {
            let sent = Arc::new(AtomicU64::new(u64::MAX));
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            let (stopped, total) = (Arc::clone(&stop), Arc::clone(&sent));
            threads.push(spawn(move || pour(&from, &stopped, &total)));
            threads.push(spawn(move || drain(&to, &sent)));
        }
        Ok(Self { stop, threads })
    }

    /// Stops; every byte sent has arrived in order. How many bytes arrived, both ways.
    pub fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut bytes = 0;
        for thread in self.threads {
            bytes += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(bytes / 2)
    }
}

fn pour(mut to: &TcpStream, stop: &AtomicBool, total: &AtomicU64) -> Result<u64> {
    let mut stamp = Stamp::default();
    let mut number = 1_u64;
    let done = loop {
        if stop.load(Ordering::Relaxed) {
            break Ok(stamp.count());
        }
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let scale = 1 << (number >> 60);
        let len = usize::try_from((number >> 33) % scale + 1)?;
        if let Err(error) = to.write_all(&stamp.next(len)) {
            break Err(error).with_context(|| format!("writing at {}", stamp.count()));
        }
        if number >> 61 == 0 {
            sleep(Duration::from_millis(1));
        }
    };
    total.store(stamp.count(), Ordering::Release);
    done
}

fn drain(mut from: &TcpStream, total: &AtomicU64) -> Result<u64> {
    // Between two looks at the total.
    from.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut stamp = Stamp::default();
    let mut bytes = vec![0; 16 << 10];
    let mut last = Instant::now();
    while stamp.count() != total.load(Ordering::Acquire) {
        match nudged(from.read(&mut bytes)) {
            Ok(Some(0)) => return Err(anyhow!("ended at {}", stamp.count())),
            Ok(Some(count)) => {
                stamp.check(&bytes[..count])?;
                last = Instant::now();
                if stamp.count() % 61 == 0 {
                    // So that bytes queue up now and then.
                    sleep(Duration::from_millis(3));
                }
            }
            Ok(None) => ensure!(last.elapsed() < PATIENCE, "nothing after {}", stamp.count()),
            Err(error) => return Err(error).with_context(|| format!("reading at {}", stamp.count())),
        }
    }
    from.set_read_timeout(Some(PATIENCE))?;
    Ok(stamp.count())
}

fn nudged(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        read => read.map(Some),
    }
}

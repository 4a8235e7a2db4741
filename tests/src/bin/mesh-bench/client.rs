//! The client: a process of its own in a pod, with one thread, that does what it is told.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};

use crate::http::Visitors;
use crate::order::{Order, Tally};
use crate::processor;
use crate::workload::{CROWD, Workload};

/// Does what the lines say, until there are no more.
pub fn work(control: &UnixStream) -> Result<()> {
    for line in BufReader::new(control).lines() {
        let done = line?.parse::<Order>().and_then(|order| perform(&order));
        let answer = done.map_or_else(|error| format!("error {error:#}"), |tally| tally.to_string());
        writeln!(&*control, "{answer}")?;
    }
    Ok(())
}

fn perform(order: &Order) -> Result<Tally> {
    let done = match order.workload {
        Workload::Requests | Workload::MediumRequests | Workload::LargeRequests => requests(order, 1),
        Workload::Crowd => requests(order, CROWD),
        Workload::Http => http(order),
        Workload::Connects => connects(order),
        Workload::Streams | Workload::SmallStreams => stream(order),
    };
    done.with_context(|| order.to_string())
}

fn requests(order: &Order, connections: usize) -> Result<Tally> {
    let mut message = vec![0; order.workload.bytes()];
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(order.target(0))?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    exchange(&mut streams, &mut message)?;
    let clock = Clock::start();
    let mut operations = 0;
    while clock.elapsed() < order.slice {
        exchange(&mut streams, &mut message)?;
        operations += connections as u64;
    }
    Ok(clock.tally(operations))
}

fn http(order: &Order) -> Result<Tally> {
    let mut visitors = Visitors::connect(order.target(0))?;
    let clock = Clock::start();
    let operations = visitors.ask_while(|| clock.elapsed() < order.slice)?;
    Ok(clock.tally(operations))
}

fn connects(order: &Order) -> Result<Tally> {
    let mut message = vec![0; order.workload.bytes()];
    let clock = Clock::start();
    let mut operations = 0;
    while clock.elapsed() < order.slice {
        let mut stream = [TcpStream::connect(order.target(operations))?];
        exchange(&mut stream, &mut message)?;
        let more = stream[0].read(&mut [0])?;
        ensure!(more == 0, "the server did not close");
        operations += 1;
    }
    Ok(clock.tally(operations))
}

fn stream(order: &Order) -> Result<Tally> {
    let block = vec![0; order.workload.bytes()];
    let mut stream = TcpStream::connect(order.target(0))?;
    let clock = Clock::start();
    let mut operations = 0;
    while clock.elapsed() < order.slice {
        stream.write_all(&block)?;
        operations += 1;
    }
    stream.shutdown(Shutdown::Write)?;
    // On an enrolled socket a blocking read after one's own shutdown may come back without data.
    poll(&mut [PollFd::new(&stream, PollFlags::IN)], None)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    let tally = clock.tally(operations);
    let (arrived, sent) = (u64::from_be_bytes(count), operations * block.len() as u64);
    ensure!(arrived == sent, "{sent} bytes were sent, {arrived} arrived");
    Ok(tally)
}

/// A request on each of these connections, then all answers.
pub fn exchange(streams: &mut [TcpStream], message: &mut [u8]) -> io::Result<()> {
    for stream in &mut *streams {
        stream.write_all(message)?;
    }
    for stream in streams {
        match stream.read_exact(message) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(io::Error::other("no answer"));
            }
            done => done?,
        }
    }
    Ok(())
}

struct Clock {
    begun: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Self {
        Self {
            cpu: processor::used(),
            begun: Instant::now(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn tally(&self, operations: u64) -> Tally {
        Tally {
            operations,
            elapsed: self.elapsed(),
            cpu: processor::used().saturating_sub(self.cpu),
        }
    }
}

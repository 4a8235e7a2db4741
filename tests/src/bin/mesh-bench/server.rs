//! The server: a process of its own in a pod, with a thread for each kind of traffic.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::{Context as _, Result};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::processor;
use crate::workload::{CROWD, Workload};

/// Serves, and says for every line how much time of a processor it used so far, in nanoseconds.
pub fn work(control: &UnixStream) -> Result<()> {
    // HTTP has a server of its own.
    let workloads = Workload::ALL.into_iter();
    for workload in workloads.filter(|workload| *workload != Workload::Http) {
        let port = workload.port();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .with_context(|| format!("listening on port {port}"))?;
        thread::spawn(move || serve(&listener, workload));
    }
    for line in BufReader::new(control).lines() {
        line?;
        writeln!(&*control, "{}", processor::used().as_nanos())?;
    }
    Ok(())
}

/// Bytes that are read of a stream at once.
const BUFFER: usize = 256 * 1024;

/// One connection at a time, or one crowd: there is one client.
fn serve(listener: &TcpListener, workload: Workload) {
    let bytes = workload.bytes();
    if workload == Workload::Crowd {
        // A client that goes in the middle says so itself.
        while answer_crowd(listener, bytes).is_ok() {}
        return;
    }
    for stream in listener.incoming() {
        // A client that goes in the middle says so itself.
        let _ = stream.and_then(|stream| match workload {
            Workload::Connects => answer(stream, &mut vec![0; bytes]),
            Workload::Streams | Workload::SmallStreams => swallow(stream),
            _ => answer_all(&stream, bytes),
        });
    }
}

fn answer_all(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut message = vec![0; bytes];
    loop {
        answer(stream, &mut message)?;
    }
}

fn answer(mut stream: impl Read + Write, message: &mut [u8]) -> io::Result<()> {
    stream.read_exact(message)?;
    stream.write_all(message)
}

/// Whoever has sent is answered, until all have gone.
fn answer_crowd(listener: &TcpListener, bytes: usize) -> io::Result<()> {
    let ready = epoll::create(CreateFlags::CLOEXEC)?;
    let mut crowd = Vec::new();
    for number in 0..CROWD as u64 {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        epoll::add(&ready, &stream, EventData::new_u64(number), EventFlags::IN)?;
        crowd.push(Some(stream));
    }
    let mut message = vec![0; bytes];
    while crowd.iter().any(Option::is_some) {
        let mut events = [MaybeUninit::uninit(); CROWD];
        let (events, _) = epoll::wait(&ready, &mut events, None)?;
        for event in events {
            let stream = usize::try_from(event.data.u64())
                .ok()
                .and_then(|number| crowd.get_mut(number));
            if let Some(stream) = stream
                && stream
                    .as_ref()
                    .is_some_and(|it| answer(it, &mut message).is_err())
            {
                *stream = None;
            }
        }
    }
    Ok(())
}

fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut block = vec![0; BUFFER];
    let mut count = 0_u64;
    loop {
        match stream.read(&mut block)? {
            0 => return stream.write_all(&count.to_be_bytes()),
            bytes => count += bytes as u64,
        }
    }
}

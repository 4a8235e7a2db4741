//! The server: a process of its own in a pod, with a thread for each kind of traffic.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::{Context as _, Result};

use crate::processor;
use crate::workload::{BLOCK, MESSAGE, Workload};

/// Serves, and says for every line how much time of a processor it used so far, in nanoseconds.
pub fn work(control: &UnixStream) -> Result<()> {
    for workload in Workload::ALL {
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

/// One connection at a time: there is one client.
fn serve(listener: &TcpListener, workload: Workload) {
    for stream in listener.incoming() {
        // A client that goes in the middle says so itself.
        let _ = stream.and_then(|stream| match workload {
            Workload::Requests => answer_all(stream),
            Workload::Connects => answer(stream),
            Workload::Streams => swallow(stream),
        });
    }
}

fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE];
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE];
    stream.read_exact(&mut message)?;
    stream.write_all(&message)
}

fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut block = vec![0; 4 * BLOCK];
    let mut count = 0_u64;
    loop {
        match stream.read(&mut block)? {
            0 => return stream.write_all(&count.to_be_bytes()),
            bytes => count += bytes as u64,
        }
    }
}

//! HTTP as wrk does it: many connections are kept, and each sends its next request when the one before is answered.

use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use harness::{Pod, Program, server};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::workload::{VISITORS, Workload};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n";
/// How every answer begins.
const STATUS: &[u8] = b"HTTP/1.1 200 ";

/// Starts the server.
pub fn serve(pod: &Pod) -> Result<Program> {
    let port = Workload::Http.port();
    let body = "x".repeat(Workload::Http.bytes());
    server::nginx(pod, port, &format!("listen {port};\nreturn 200 \"{body}\";"))
}

/// A client with its connections.
pub struct Visitors {
    ready: OwnedFd,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Visitors {
    /// Connects, and asks on each connection once.
    pub fn connect(target: SocketAddr) -> Result<Self> {
        let ready = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for number in 0..VISITORS as u64 {
            let stream = TcpStream::connect(target)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&ready, &stream, EventData::new_u64(number), EventFlags::IN)?;
            let answer = Vec::new();
            connections.push(Connection { stream, answer });
        }
        let mut visitors = Self { ready, connections };
        visitors.ask_while(|| false)?;
        Ok(visitors)
    }

    /// Asks on all connections, again as long as `more` says so, until all is answered; says how many answers came.
    pub fn ask_while(&mut self, more: impl Fn() -> bool) -> Result<u64> {
        for connection in &mut self.connections {
            connection.ask()?;
        }
        let (mut waiting, mut answers) = (VISITORS, 0);
        while waiting > 0 {
            let mut events = [MaybeUninit::uninit(); VISITORS];
            let (events, _) = epoll::wait(&self.ready, &mut events, None)?;
            for event in events {
                let number = usize::try_from(event.data.u64())?;
                let connection = self.connections.get_mut(number).context("a connection")?;
                if !connection.is_answered()? {
                    continue;
                }
                answers += 1;
                if more() {
                    connection.ask()?;
                } else {
                    waiting -= 1;
                }
            }
        }
        Ok(answers)
    }
}

impl Connection {
    /// So short that there is always room for it.
    fn ask(&mut self) -> io::Result<()> {
        self.answer.clear();
        self.stream.write_all(REQUEST)
    }

    /// Reads what is there; whether the answer is complete.
    fn is_answered(&mut self) -> Result<bool> {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes)?;
        ensure!(count > 0, "the server closed");
        self.answer.extend_from_slice(&bytes[..count]);
        let Some(len) = length(&self.answer)? else {
            return Ok(false);
        };
        ensure!(self.answer.len() <= len, "more than one answer came");
        Ok(self.answer.len() == len)
    }
}

/// How long the answer is that begins so; `None` while its header is not complete.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|bytes| bytes == END) else {
        return Ok(None);
    };
    let header = &answer[..end];
    ensure!(
        header.starts_with(STATUS),
        "not what was asked for: {}",
        String::from_utf8_lossy(header)
    );
    Ok(Some(end + END.len() + Workload::Http.bytes()))
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn an_answer_is_as_long_as_its_header_and_its_body() {
        let header = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n";
        assert_eq!(length(header).unwrap(), Some(header.len() + 1024));
        assert_eq!(length(&header[..header.len() - 1]).unwrap(), None);
        assert!(length(b"HTTP/1.1 500 Oh\r\n\r\n").is_err());
    }
}

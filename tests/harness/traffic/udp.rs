//! UDP.

use std::io;
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::SockRef;

use super::{Answer, PATIENCE, greeting, parse_greeting};
use crate::lock::lock;
use crate::place::Place;
use crate::tenants::Tenant;

/// How long a server may oversleep its end, should nothing wake it.
const NAP: Duration = Duration::from_millis(100);

/// Answers every datagram with its name, the client's address and the datagram. Ends on drop.
#[derive(Debug)]
pub struct UdpServer {
    addr: SocketAddr,
    inner: Arc<Inner>,
}

impl UdpServer {
    /// Receives in `place`; port 0 means any.
    pub fn start(place: &Place, addr: SocketAddr, name: &str) -> Result<Self> {
        let socket = place.run(|| UdpSocket::bind(addr));
        let socket = socket.with_context(|| format!("{name} receiving on {addr} in {}", place.name()))?;
        socket.set_read_timeout(Some(NAP))?;
        let addr = socket.local_addr()?;
        let inner = Arc::new(Inner {
            name: name.into(),
            socket: Mutex::new(Some(Arc::new(socket))),
            ..Inner::default()
        });
        let server = Arc::clone(&inner);
        let thread = place.spawn(name, move || server.serve())?;
        *lock(&inner.thread) = Some(thread);
        place.tenants().add(&inner);
        Ok(Self { addr, inner })
    }

    /// Where it receives.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many datagrams it received.
    #[must_use]
    pub fn received(&self) -> usize {
        self.inner.received.load(Ordering::Relaxed)
    }

    /// Closes the socket.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug, Default)]
struct Inner {
    name: String,
    /// `None` when stopped, so that the port is free.
    socket: Mutex<Option<Arc<UdpSocket>>>,
    received: AtomicUsize,
    stopped: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Inner {
    fn socket(&self) -> Option<Arc<UdpSocket>> {
        lock(&self.socket).clone()
    }

    fn serve(&self) {
        let Some(socket) = self.socket() else { return };
        let mut buffer = vec![0; 64 << 10];
        while !self.stopped.load(Ordering::Acquire) {
            // Time-outs, and errors that ICMP reported for an answer sent before.
            let Ok((length, client)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            if client.port() == 0 {
                continue;
            }
            self.received.fetch_add(1, Ordering::Relaxed);
            let mut answer = greeting(&self.name, client).into_bytes();
            answer.extend_from_slice(&buffer[..length]);
            let _ = socket.send_to(&answer, client);
        }
    }
}

impl Tenant for Inner {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(socket) = lock(&self.socket).take() {
            // ENOTCONN, but it wakes recv_from().
            let _ = SockRef::from(&*socket).shutdown(Shutdown::Both);
        }
        let thread = lock(&self.thread).take();
        let _ = thread.map(JoinHandle::join);
    }
}

/// Asks from a socket that is not connected, and says who answered and where the answer came from.
pub fn ask_udp_unconnected(socket: &UdpSocket, addr: SocketAddr) -> io::Result<Answer> {
    let question = question();
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(question.as_bytes(), addr)?;
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        if let Some(answer) = answer(socket, from, &buffer[..length], &question)? {
            return Ok(answer);
        }
    }
}

/// Asks over a socket that is connected; `peer_seen` is `getpeername()`.
pub fn ask_udp_connected(socket: &UdpSocket) -> io::Result<Answer> {
    let question = question();
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question.as_bytes())?;
    let mut buffer = [0; 2048];
    loop {
        let length = socket.recv(&mut buffer)?;
        if let Some(answer) = answer(socket, socket.peer_addr()?, &buffer[..length], &question)? {
            return Ok(answer);
        }
    }
}

/// A new one each time, so that a late answer is not taken for this one's.
fn question() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("question {}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn answer(
    socket: &UdpSocket,
    peer_seen: SocketAddr,
    text: &[u8],
    question: &str,
) -> io::Result<Option<Answer>> {
    let text = String::from_utf8_lossy(text);
    let (line, echo) = text.split_once('\n').unwrap_or((&text, ""));
    if echo != question {
        return Ok(None);
    }
    let (name, client_seen) = parse_greeting(line)?;
    Ok(Some(Answer {
        name,
        peer_seen,
        local: socket.local_addr()?,
        client_seen,
    }))
}

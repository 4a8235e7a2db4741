//! TCP.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, SockRef, Socket, Type};

use super::{Answer, PATIENCE, greeting, parse_greeting};
use crate::lock::lock;
use crate::place::Place;
use crate::tenants::Tenant;

/// Greets every connection with its name and the client's address, then echoes. Ends on drop.
#[derive(Debug)]
pub struct TcpServer {
    addr: SocketAddr,
    inner: Arc<Inner>,
}

impl TcpServer {
    /// Listens in `place`; port 0 means any.
    pub fn start(place: &Place, addr: SocketAddr, name: &str) -> Result<Self> {
        let listener = place.run(|| listen(addr));
        let listener = listener.with_context(|| format!("{name} listening on {addr} in {}", place.name()))?;
        let addr = listener.local_addr()?;
        let inner = Arc::new(Inner::new(name, listener));
        let server = Arc::clone(&inner);
        let thread = place.spawn(name, move || server.serve())?;
        *lock(&inner.thread) = Some(thread);
        place.tenants().add(&inner);
        Ok(Self { addr, inner })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections it accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.inner.accepted.load(Ordering::Relaxed)
    }

    /// Stops listening and ends all connections.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
struct Inner {
    name: String,
    /// `None` when stopped, so that the port is free.
    listener: Mutex<Option<Arc<TcpListener>>>,
    stopped: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Those that may still be open.
    connections: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
    accepted: AtomicUsize,
}

impl Inner {
    fn new(name: &str, listener: TcpListener) -> Self {
        let listener = Mutex::new(Some(Arc::new(listener)));
        let (thread, connections, accepted) = Default::default();
        Self {
            name: name.into(),
            listener,
            stopped: AtomicBool::new(false),
            thread,
            connections,
            accepted,
        }
    }

    fn listener(&self) -> Option<Arc<TcpListener>> {
        lock(&self.listener).clone()
    }

    fn serve(&self) {
        let Some(listener) = self.listener() else { return };
        while let Ok((stream, client)) = listener.accept() {
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            let Ok(twin) = stream.try_clone() else { continue };
            let hello = greeting(&self.name, client);
            let thread = thread::spawn(move || {
                // The client may leave when it likes.
                let _ = converse(stream, &hello);
            });
            self.accepted.fetch_add(1, Ordering::Relaxed);
            let mut connections = lock(&self.connections);
            connections.retain(|(_, thread)| !thread.is_finished());
            connections.push((twin, thread));
        }
    }
}

impl Tenant for Inner {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(listener) = lock(&self.listener).take() {
            // Wakes accept().
            let _ = SockRef::from(&*listener).shutdown(Shutdown::Both);
        }
        let thread = lock(&self.thread).take();
        let _ = thread.map(JoinHandle::join);
        for (stream, thread) in lock(&self.connections).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn converse(mut stream: TcpStream, hello: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(hello.as_bytes())?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// A connection to a [`TcpServer`].
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<TcpStream>,
    answer: Answer,
}

impl Conversation {
    /// Connects and reads the greeting.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        Self::open_over(&Socket::new(Domain::for_address(addr), Type::STREAM, None)?, addr)
    }

    /// As [`Conversation::open`]; each step may take this long.
    pub fn open_within(limit: Duration, addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        Self::connect(&socket, addr, limit)
    }

    /// As [`Conversation::open`], from a local address.
    pub fn open_from(local: SocketAddr, addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.bind(&local.into())?;
        Self::open_over(&socket, addr)
    }

    /// As [`Conversation::open`], over a socket that the test prepared and may connect again.
    pub fn open_over(socket: &Socket, addr: SocketAddr) -> io::Result<Self> {
        Self::connect(socket, addr, PATIENCE)
    }

    fn connect(socket: &Socket, addr: SocketAddr, limit: Duration) -> io::Result<Self> {
        // The time-out of a blocking connect() is that of a write.
        socket.set_write_timeout(Some(limit))?;
        socket
            .connect(&addr.into())
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINPROGRESS) => {
                    io::Error::new(io::ErrorKind::TimedOut, format!("connecting to {addr}"))
                }
                _ => error,
            })?;
        Self::greeted(socket, limit)
    }

    /// Reads the greeting from a blocking socket that is connected.
    pub fn over(socket: &Socket) -> io::Result<Self> {
        Self::greeted(socket, PATIENCE)
    }

    fn greeted(socket: &Socket, limit: Duration) -> io::Result<Self> {
        let stream: TcpStream = socket.try_clone()?.into();
        stream.set_read_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        let (peer_seen, local) = (stream.peer_addr()?, stream.local_addr()?);
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let (name, client_seen) = parse_greeting(&line)?;
        Ok(Self {
            stream,
            answer: Answer {
                name,
                peer_seen,
                local,
                client_seen,
            },
        })
    }

    /// What was learned by connecting.
    #[must_use]
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Says something and checks that the same comes back.
    pub fn echo(&mut self, words: &[u8]) -> io::Result<()> {
        // In pieces that fit into socket buffers: both ends write before they read.
        for piece in words.chunks(16 << 10) {
            self.stream.get_mut().write_all(piece)?;
            let mut back = vec![0; piece.len()];
            self.stream.read_exact(&mut back)?;
            if back != piece {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs"));
            }
        }
        Ok(())
    }

    /// The socket.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

/// Connects, reads who answers, closes.
pub fn ask_tcp(addr: SocketAddr) -> io::Result<Answer> {
    Conversation::open(addr).map(|conversation| conversation.answer)
}

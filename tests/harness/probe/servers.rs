//! What a prober serves.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Socket, Type};

use super::ears::hear;
use super::{Number, sctp};

/// Sockets of a place.
pub(super) struct Servers {
    listeners: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
    /// IPv4 and IPv6, and whether it is IPv4.
    raw: Vec<(UdpSocket, bool)>,
    ports: Vec<u16>,
}

impl Servers {
    /// Opens them where the calling thread stands.
    pub(super) fn open(ips: &[IpAddr], ports: &[u16]) -> io::Result<Self> {
        let all = || {
            let addresses = |ip: &IpAddr| {
                let ip = *ip;
                ports.iter().map(move |port| SocketAddr::new(ip, *port))
            };
            ips.iter().flat_map(addresses)
        };
        // Without raw sockets nobody tries SCTP, either.
        let raw = [(Domain::IPV4, true), (Domain::IPV6, false)];
        let raw = raw
            .into_iter()
            .filter_map(|(domain, is_v4)| Some((sctp::socket(domain).ok()?, is_v4)));
        Ok(Self {
            listeners: all().map(listen).collect::<io::Result<_>>()?,
            datagrams: all().map(bind).collect::<io::Result<_>>()?,
            raw: raw.collect(),
            ports: ports.to_vec(),
        })
    }

    /// Serves until the other end of the line is closed.
    pub(super) fn serve(self, line: &UnixStream) {
        let mut streams: Vec<TcpStream> = Vec::new();
        loop {
            let own = [line.as_fd()].into_iter();
            let own = own.chain(self.listeners.iter().map(|it| it.as_fd()));
            let own = own.chain(self.datagrams.iter().map(|it| it.as_fd()));
            let own = own.chain(self.raw.iter().map(|(it, _)| it.as_fd()));
            let ready = ready(own.chain(streams.iter().map(|it| it.as_fd())));
            let (own, of_streams) = ready.split_at(ready.len() - streams.len());
            if own[0] {
                return;
            }
            let mut of_streams = of_streams.iter();
            streams.retain_mut(|stream| of_streams.next() != Some(&true) || echo(stream));
            self.answer(&own[1..], &mut streams);
        }
    }

    fn answer(&self, ready: &[bool], streams: &mut Vec<TcpStream>) {
        let (listeners, others) = ready.split_at(self.listeners.len());
        let (datagrams, raw) = others.split_at(self.datagrams.len());
        for (listener, _) in chosen(&self.listeners, listeners) {
            streams.extend(std::iter::from_fn(|| accept(listener).ok()));
        }
        for (socket, _) in chosen(&self.datagrams, datagrams) {
            give_back(socket);
        }
        for ((socket, is_v4), _) in chosen(&self.raw, raw) {
            self.answer_sctp(socket, *is_v4);
        }
    }

    fn answer_sctp(&self, socket: &UdpSocket, is_v4: bool) {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let packet = sctp::Packet::read(&buffer[..length], is_v4);
            let Some(packet) = packet.filter(|it| !it.is_answer && self.ports.contains(&it.to)) else {
                continue;
            };
            hear(packet.number);
            // It may be forbidden.
            let _ = socket.send_to(&packet.answer().bytes(), from);
        }
    }
}

/// Which of these there is something to do for; waits until there is.
fn ready<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> Vec<bool> {
    let mut fds: Vec<_> = sockets
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    // Interrupted is as good as nothing to do.
    let _ = poll(&mut fds, None);
    fds.iter().map(|fd| !fd.revents().is_empty()).collect()
}

fn chosen<'a, T>(all: &'a [T], ready: &'a [bool]) -> impl Iterator<Item = (&'a T, bool)> {
    let pairs = all.iter().zip(ready.iter().copied());
    pairs.filter(|(_, ready)| *ready)
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Gives back what came; whether the connection goes on.
fn echo(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 2048];
    match stream.read(&mut buffer) {
        Ok(length @ 1..) => {
            if let Some(number) = Number::read(&buffer[..length]) {
                hear(number);
            }
            stream.write_all(&buffer[..length]).is_ok()
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
        _ => false,
    }
}

fn give_back(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    // An error may be about an earlier answer: there may be more behind it.
    for _ in 0..64 {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                if let Some(number) = Number::read(&buffer[..length]) {
                    hear(number);
                }
                let _ = socket.send_to(&buffer[..length], from);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => {}
        }
    }
}

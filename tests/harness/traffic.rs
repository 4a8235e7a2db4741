//! Traffic: servers that say who they are, and clients that ask them.
//!
//! A server's greeting is one line, `name client`: its own name, and the client's address as the server
//! sees it. Then it echoes. The functions here act where the calling thread stands, so inside
//! [`Pod::run`](crate::Pod::run); every wait ends after [`PATIENCE`].

mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use tcp::{Conversation, TcpServer, ask_tcp};
pub use udp::{UdpServer, ask_udp_connected, ask_udp_unconnected};

/// How long any single step may take.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What a client learned by asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answered.
    pub name: String,
    /// The server's address as the client sees it: `getpeername()`, or where the datagram came from.
    pub peer_seen: SocketAddr,
    /// The client's own address: `getsockname()`.
    pub local: SocketAddr,
    /// The client's address as the server sees it.
    pub client_seen: SocketAddr,
}

fn greeting(name: &str, client: SocketAddr) -> String {
    format!("{name} {client}\n")
}

fn parse_greeting(line: &str) -> io::Result<(String, SocketAddr)> {
    let parse = || {
        let (name, client) = line.trim_end().split_once(' ')?;
        Some((name.to_owned(), client.parse().ok()?))
    };
    parse().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no greeting: {line:?}")))
}

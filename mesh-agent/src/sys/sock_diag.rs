//! Sockets of a network namespace: listed, looked up, and destroyed (`sock_diag(7)`, `struct inet_diag_req_v2` in
//! `include/uapi/linux/inet_diag.h`).
//!
//! Everything happens in the network namespace of the calling thread, see [`super::netns::run_in`].

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    netlink::{self, Answer, Request},
    route,
};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// An address family.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Family {
    /// `AF_INET`.
    V4 = 2,
    /// `AF_INET6`; its sockets may have v4-mapped addresses.
    V6 = 10,
}

/// A protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Protocol {
    /// `IPPROTO_TCP`.
    Tcp = 6,
    /// `IPPROTO_UDP`.
    Udp = 17,
}

/// A set of states.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct States(u32);

impl States {
    /// `TCP_ESTABLISHED`, and UDP sockets that are connected.
    pub const ESTABLISHED: Self = Self::only(1);
    /// `TCP_SYN_SENT`.
    pub const SYN_SENT: Self = Self::only(2);
    /// `TCP_SYN_RECV`.
    pub const SYN_RECV: Self = Self::only(3);
    /// `TCP_FIN_WAIT1`.
    pub const FIN_WAIT1: Self = Self::only(4);
    /// `TCP_FIN_WAIT2`.
    pub const FIN_WAIT2: Self = Self::only(5);
    /// `TCP_TIME_WAIT`.
    pub const TIME_WAIT: Self = Self::only(6);
    /// `TCP_CLOSE`: UDP sockets that are not connected.
    pub const CLOSE: Self = Self::only(7);
    /// `TCP_CLOSE_WAIT`.
    pub const CLOSE_WAIT: Self = Self::only(8);
    /// `TCP_LISTEN`.
    pub const LISTEN: Self = Self::only(10);
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    const fn only(state: u8) -> Self {
        Self(1 << state)
    }

    /// Those of both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this state is one of them.
    #[must_use]
    pub const fn contain(self, state: u8) -> bool {
        state < 32 && self.0 & (1 << state) != 0
    }
}

/// A socket as the kernel lists it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Socket {
    /// Family of the socket itself.
    pub family: Family,
    /// Protocol.
    pub protocol: Protocol,
    /// Its own end.
    pub local: SocketAddr,
    /// The other end; unspecified where it has none.
    pub remote: SocketAddr,
    /// Index of the interface it is bound to; 0 for any.
    pub interface: u32,
    /// Its cookie, which is what programs know it by (`bpf_get_socket_cookie`).
    pub cookie: u64,
    /// As a number; see [`States`].
    pub state: u8,
    /// Inode; 0 once no process has it.
    pub inode: u32,
    /// User who made it.
    pub uid: u32,
    /// Bytes received that nobody has read; of a listener, connections nobody has accepted.
    pub unread: u32,
    /// Bytes the other end has not acknowledged.
    pub unacknowledged: u32,
}

impl Socket {
    /// Both ends, its own first; those of IPv4 as such, also on a socket of IPv6.
    #[must_use]
    pub const fn ends(&self) -> (SocketAddr, SocketAddr) {
        (canonical(self.local), canonical(self.remote))
    }

    /// Whether no process has it any more, so that nobody will read or write.
    #[must_use]
    pub const fn is_orphan(&self) -> bool {
        self.inode == 0
    }
}

/// Why a socket can't be destroyed.
#[derive(Debug, Error)]
pub enum DestroyError {
    /// The kernel was built without it.
    #[error("this kernel destroys no sockets: it was built without CONFIG_INET_DIAG_DESTROY ({0})")]
    Unsupported(io::Error),
    /// No right to.
    #[error("destroying the socket {local} -> {remote}: {source} (it needs CAP_NET_ADMIN)")]
    Refused {
        /// Its own end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
        /// The reason.
        source: io::Error,
    },
}

/// The sockets of a family and protocol that are in these states.
///
/// # Errors
/// The kernel's: ENOENT where it can't list this protocol.
pub fn list(family: Family, protocol: Protocol, states: States) -> io::Result<Vec<Socket>> {
    let request = diag(family, protocol, states, Id::default());
    let answers = ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request)?;
    Ok(answers
        .iter()
        .filter_map(|answer| read(answer, protocol))
        .collect())
}

/// The TCP socket with these ends, of whatever family it is; `None` where there is none.
/// A kernel without `tcp_diag` (a module in some distributions) finds none at all.
///
/// # Errors
/// The kernel's.
pub fn find_tcp(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Socket>> {
    if let Some(found) = find_tcp_at(0, local, remote)? {
        return Ok(Some(found));
    }
    // One that is bound to an interface (SO_BINDTODEVICE) is found by naming that. A pod has two or three; to list all of
    // its sockets instead would cost more with each of them.
    for interface in route::interfaces()? {
        if let Some(found) = find_tcp_at(interface, local, remote)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The same among the sockets that take packets from this interface; from any at 0.
fn find_tcp_at(interface: u32, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Socket>> {
    let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
    let id = Id {
        interface,
        ..Id::of(local, remote)
    };
    let request = diag(family, Protocol::Tcp, States::ALL, id);
    match ask(SOCK_DIAG_BY_FAMILY, NLM_F_ACK, &request) {
        // Without a connection, the kernel may answer with who listens.
        Ok(answers) => Ok(answers
            .iter()
            .filter_map(|answer| read(answer, Protocol::Tcp))
            .find(|socket| socket.ends() == (canonical(local), canonical(remote)))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Destroys a socket: its calls end with ECONNABORTED, and a TCP peer gets a reset. Says whether it was still there:
/// one that took its place since it was listed is left alone.
///
/// # Errors
/// Where the kernel can't, or refuses.
pub fn destroy(socket: &Socket) -> Result<bool, DestroyError> {
    let &Socket { local, remote, .. } = socket;
    let id = Id {
        interface: socket.interface,
        #[expect(clippy::cast_possible_truncation, reason = "both halves")]
        cookie: [socket.cookie as u32, (socket.cookie >> 32) as u32],
        ..Id::of(local, remote)
    };
    let request = diag(socket.family, socket.protocol, States::ALL, id);
    match ask(SOCK_DESTROY, NLM_F_ACK, &request) {
        Ok(_) => Ok(true),
        Err(source) => not_destroyed(local, remote, source),
    }
}

/// What the kernel's error means.
fn not_destroyed(local: SocketAddr, remote: SocketAddr, source: io::Error) -> Result<bool, DestroyError> {
    match source.raw_os_error() {
        // ESTALE: another socket has the place.
        Some(libc::ENOENT | libc::ESTALE) => Ok(false),
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => Err(DestroyError::Unsupported(source)),
        _ => Err(DestroyError::Refused {
            local,
            remote,
            source,
        }),
    }
}

fn ask(kind: u16, flags: u16, request: &DiagRequest) -> netlink::Outcome {
    let body = request.as_bytes().to_vec();
    netlink::ask(NETLINK_SOCK_DIAG, Request { kind, flags, body })
}

/// `struct inet_diag_req_v2`.
#[derive(Clone, Copy, Immutable, IntoBytes)]
#[repr(C)]
struct DiagRequest {
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: Id,
}

/// `struct inet_diag_sockid`: ports and addresses in network order.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct Id {
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u8; 16],
    remote: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_msg`.
#[derive(Clone, Copy, FromBytes, Immutable)]
#[repr(C)]
struct Message {
    family: u8,
    state: u8,
    timer: u8,
    retransmits: u8,
    id: Id,
    expires: u32,
    unread: u32,
    unacknowledged: u32,
    uid: u32,
    inode: u32,
}

/// Any.
impl Default for Id {
    fn default() -> Self {
        /// `INET_DIAG_NOCOOKIE`.
        const ANY: u32 = u32::MAX;
        Self {
            local_port: [0; 2],
            remote_port: [0; 2],
            local: [0; 16],
            remote: [0; 16],
            interface: 0,
            cookie: [ANY; 2],
        }
    }
}

impl Id {
    fn of(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local_port: local.port().to_be_bytes(),
            remote_port: remote.port().to_be_bytes(),
            local: octets(local.ip()),
            remote: octets(remote.ip()),
            ..Self::default()
        }
    }
}

const fn diag(family: Family, protocol: Protocol, states: States, id: Id) -> DiagRequest {
    DiagRequest {
        family: family as u8,
        protocol: protocol as u8,
        extensions: 0,
        pad: 0,
        states: states.0,
        id,
    }
}

const fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

/// An address of IPv4 has the first four bytes.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&v4.octets());
            octets
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn ip(family: Family, octets: [u8; 16]) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into(),
        Family::V6 => Ipv6Addr::from(octets).into(),
    }
}

/// A socket of an answer; `None` for anything else.
fn read(answer: &Answer, protocol: Protocol) -> Option<Socket> {
    if answer.kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let (message, _) = Message::read_from_prefix(&answer.body).ok()?;
    let family = [Family::V4, Family::V6]
        .into_iter()
        .find(|family| *family as u8 == message.family)?;
    let end = |octets, port| SocketAddr::new(ip(family, octets), u16::from_be_bytes(port));
    let Id {
        local_port,
        remote_port,
        local,
        remote,
        interface,
        cookie: [low, high],
    } = message.id;
    Some(Socket {
        family,
        protocol,
        local: end(local, local_port),
        remote: end(remote, remote_port),
        interface,
        cookie: u64::from(high) << 32 | u64::from(low),
        state: message.state,
        inode: message.inode,
        uid: message.uid,
        unread: message.unread,
        unacknowledged: message.unacknowledged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<DiagRequest>(), 56);
        assert_eq!(size_of::<Id>(), 48);
        assert_eq!(size_of::<Message>(), 72);
    }

    #[test]
    fn states_are_a_set() {
        let both = States::CLOSE_WAIT.or(States::FIN_WAIT2);
        assert!(both.contain(8) && both.contain(5) && !both.contain(1));
        assert!(States::ALL.contain(12) && !States::ALL.contain(200));
    }

    #[test]
    fn what_is_no_socket_is_passed_over() {
        let answer = |kind, len| Answer {
            kind,
            body: vec![Family::V4 as u8; len],
        };
        assert!(read(&answer(SOCK_DIAG_BY_FAMILY, 72), Protocol::Tcp).is_some());
        assert_eq!(read(&answer(SOCK_DIAG_BY_FAMILY, 71), Protocol::Tcp), None);
        assert_eq!(read(&answer(3, 72), Protocol::Tcp), None);
    }

    #[test]
    fn a_kernel_that_cannot_destroy_is_told_apart() {
        let end = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let meant = |error| not_destroyed(end, end, io::Error::from_raw_os_error(error));
        for gone in [libc::ENOENT, libc::ESTALE] {
            assert!(matches!(meant(gone), Ok(false)));
        }
        for unable in [libc::EOPNOTSUPP, libc::ENOSYS] {
            let text = meant(unable).unwrap_err().to_string();
            assert!(text.contains("CONFIG_INET_DIAG_DESTROY"), "{text}");
        }
        let text = meant(libc::EPERM).unwrap_err().to_string();
        assert!(
            text.starts_with("destroying the socket 127.0.0.1:1 -> 127.0.0.1:1: "),
            "{text}"
        );
        assert!(text.ends_with("(it needs CAP_NET_ADMIN)"), "{text}");
    }

    #[test]
    fn lists_and_finds_a_listener_and_a_connection() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(to).unwrap();
        let from = stream.local_addr().unwrap();
        let listening = list(Family::V4, Protocol::Tcp, States::LISTEN).unwrap();
        assert!(listening.iter().any(|socket| socket.local == to));
        let found = find_tcp(from, to).unwrap().unwrap();
        assert_eq!((found.local, found.remote), (from, to));
        assert!(States::ESTABLISHED.contain(found.state) && !found.is_orphan());
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        assert_eq!(find_tcp(nobody, to).unwrap(), None);
    }
}

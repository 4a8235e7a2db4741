//! Packets made by hand, and the sockets that send and hear them: what a pod with capabilities can do past `connect()`.
#![allow(unsafe_code, reason = "no crate of ours sends by packet sockets")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::place::Place;
use crate::probe::Number;
use crate::until;

/// Protocol numbers.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP of IPv6.
pub const ICMP6: u8 = 58;
/// For experiments (RFC 3692).
pub const EXPERIMENT: u8 = 253;

/// Flags of TCP.
pub const SYN: u8 = 2;
/// With an acknowledgement.
pub const ACK: u8 = 16;
/// Data that shall not wait.
pub const PUSH: u8 = 8;

/// A whole packet with a datagram of UDP in it.
#[must_use]
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut datagram = ports(from, to);
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    checked(&mut datagram, 6, UDP, from.ip(), to.ip());
    ip(UDP, from.ip(), to.ip(), &datagram)
}

/// A whole packet with a segment of TCP in it.
#[must_use]
pub fn tcp(from: SocketAddr, to: SocketAddr, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = ports(from, to);
    segment.extend(1_000_u32.to_be_bytes());
    segment.extend(if flags & ACK != 0 { 2_000_u32 } else { 0 }.to_be_bytes());
    segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    checked(&mut segment, 16, TCP, from.ip(), to.ip());
    ip(TCP, from.ip(), to.ip(), &segment)
}

/// A whole packet of any protocol.
///
/// # Panics
///
/// When the addresses are of two families.
#[must_use]
pub fn ip(protocol: u8, from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
    let length = |header: usize| {
        u16::try_from(header + payload.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes()
    };
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0];
            header.extend(length(20));
            header.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = sum(&header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length(0));
            header.extend([protocol, 64]);
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        _ => panic!("{from} and {to} are of two families"),
    };
    packet.extend(payload);
    packet
}

/// A packet of IPv4 in two fragments; the first has `first` bytes after the header, a multiple of eight.
#[must_use]
pub fn fragments(packet: &[u8], first: usize) -> [Vec<u8>; 2] {
    const MORE: u16 = 1 << 13;
    let (header, payload) = packet.split_at(20);
    let (head, tail) = payload.split_at(first);
    let offset = u16::try_from(first / 8).unwrap_or_default();
    [(head, MORE), (tail, offset)].map(|(part, word)| {
        let mut fragment = [header, part].concat();
        let length = u16::try_from(fragment.len()).unwrap_or_default();
        fragment[2..4].copy_from_slice(&length.to_be_bytes());
        fragment[6..8].copy_from_slice(&word.to_be_bytes());
        fragment[10..12].fill(0);
        let sum = sum(&fragment[..20]).to_be_bytes();
        fragment[10..12].copy_from_slice(&sum);
        fragment
    })
}

/// The same packet with options that say nothing before its payload: in the header of IPv4, behind that of IPv6.
#[must_use]
pub fn with_options(packet: &[u8]) -> Vec<u8> {
    /// Options for the destination (RFC 8200, 4.6), with six bytes of padding.
    const OPTIONS: u8 = 60;
    if packet[0] >> 4 == 4 {
        let (header, payload) = packet.split_at(20);
        let mut packet = [header, &[1; 4], payload].concat();
        packet[0] = 0x46;
        let length = u16::try_from(packet.len()).unwrap_or_default();
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[10..12].fill(0);
        let sum = sum(&packet[..24]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        return packet;
    }
    behind(packet, OPTIONS, [packet[6], 0, 1, 4, 0, 0, 0, 0], packet.len())
}

/// A packet of IPv6 in two fragments; the first has `first` bytes after the header, a multiple of eight.
#[must_use]
pub fn fragments6(packet: &[u8], first: usize) -> [Vec<u8>; 2] {
    const FRAGMENT: u8 = 44;
    let part = |from: usize, to: usize, more: u8| {
        let part = [&packet[..40], &packet[40 + from..to]].concat();
        let [high, low] = u16::try_from(from).unwrap_or_default().to_be_bytes();
        let header = [packet[6], 0, high, low | more, 0, 0, 0x12, 0x34];
        behind(&part, FRAGMENT, header, part.len())
    };
    [part(0, 40 + first, 1), part(first, packet.len(), 0)]
}

/// A packet of IPv6 with one more header of eight bytes.
fn behind(packet: &[u8], kind: u8, header: [u8; 8], length: usize) -> Vec<u8> {
    let mut longer = [&packet[..40], &header, &packet[40..]].concat();
    let length = u16::try_from(length - 40 + header.len()).unwrap_or_default();
    longer[4..6].copy_from_slice(&length.to_be_bytes());
    longer[6] = kind;
    longer
}

/// A request for an echo, with the payload; its checksum is right for IPv4, and the kernel's business for IPv6.
#[must_use]
pub fn echo(to: IpAddr, payload: &[u8]) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0, 0x4d, 0x45, 0, 1];
    message.extend(payload);
    let sum = sum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

fn ports(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    [from.port().to_be_bytes(), to.port().to_be_bytes()].concat()
}

/// Puts the checksum of a header and a pseudo-header at its place.
fn checked(bytes: &mut [u8], at: usize, protocol: u8, from: IpAddr, to: IpAddr) {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    let pseudo = [octets(from), octets(to), vec![0, protocol], length.to_vec()].concat();
    let sum = sum(&[&pseudo, &*bytes].concat()).to_be_bytes();
    bytes[at..at + 2].copy_from_slice(&sum);
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// A raw socket of a protocol, where the calling thread stands.
pub fn raw(domain: Domain, protocol: u8) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sends a whole packet by a raw socket; the kernel routes it by its destination.
pub fn send(packet: &[u8], to: IpAddr) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(SocketAddr::new(to, 0)),
        Type::RAW,
        Some(Protocol::from(libc::IPPROTO_RAW)),
    )?;
    socket.send_to(packet, &SocketAddr::new(to, 0).into()).map(drop)
}

/// Sends a whole packet by a packet socket at `eth0`, to a station; with `bypass` past the interface's queue.
pub fn send_frame(packet: &[u8], station: [u8; 6], bypass: bool) -> io::Result<()> {
    let protocol = if packet[0] >> 4 == 4 {
        libc::ETH_P_IP
    } else {
        libc::ETH_P_IPV6
    };
    let protocol = u16::try_from(protocol).unwrap_or_default().to_be();
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    let fd = socket.as_raw_fd();
    if bypass {
        let one: libc::c_int = 1;
        let (level, name) = (libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS);
        let length = libc::socklen_t::try_from(size_of_val(&one)).unwrap_or_default();
        // SAFETY: the descriptor is open, and the value an int of that length.
        if unsafe { libc::setsockopt(fd, level, name, (&raw const one).cast(), length) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the name is a string with an end.
    let index = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) };
    let mut addr = [0; 8];
    addr[..6].copy_from_slice(&station);
    let to = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(index).unwrap_or_default(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: addr,
    };
    let length = libc::socklen_t::try_from(size_of_val(&to)).unwrap_or_default();
    // SAFETY: the descriptor is open, and packet and address live through the call with the lengths given.
    let sent = unsafe {
        libc::sendto(
            fd,
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const to).cast(),
            length,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Hears everything of a protocol that comes to a place.
#[derive(Debug)]
pub struct Ear(UdpSocket);

impl Ear {
    /// Listens from now on.
    pub fn open(place: &Place, domain: Domain, protocol: u8) -> io::Result<Self> {
        place.run(|| raw(domain, protocol)).map(Self)
    }

    /// Whether a packet with these bytes comes within `limit`.
    #[must_use]
    pub fn hears(&self, limit: Duration, number: Number) -> bool {
        self.hears_any(limit, |packet| packet.windows(4).any(|it| it == number.bytes()))
    }

    /// Whether a packet comes of which that is true.
    #[must_use]
    pub fn hears_any(&self, limit: Duration, fits: impl Fn(&[u8]) -> bool) -> bool {
        let mut buffer = [0; 4096];
        until(limit, || {
            while let Ok((length, _)) = self.0.recv_from(&mut buffer) {
                if fits(&buffer[..length]) {
                    return true;
                }
            }
            false
        })
    }
}

/// The address that reaches all of an IPv4 network of 16 bits.
#[must_use]
pub fn broadcast(ip: Ipv4Addr) -> Ipv4Addr {
    let [a, b, ..] = ip.octets();
    Ipv4Addr::new(a, b, 255, 255)
}

#[cfg(test)]
mod tests {
    use super::{ACK, fragments, fragments6, sum, tcp, udp, with_options};

    #[test]
    fn checksums_hold() {
        let [from, to] = ["10.0.0.1:1000", "10.0.0.2:80"].map(|text| text.parse().expect("an address"));
        let packet = udp(from, to, b"12345");
        assert_eq!(sum(&packet[..20]), 0);
        assert_eq!(packet.len(), 33);
        let segment = tcp(from, to, ACK, b"");
        assert_eq!((sum(&segment[..20]), segment.len()), (0, 40));
        let parts = fragments(&udp(from, to, &[7; 100]), 16);
        assert_eq!(parts.each_ref().map(Vec::len), [36, 112]);
        assert!(parts.iter().all(|part| sum(&part[..20]) == 0));
        let packet = with_options(&packet);
        assert_eq!((sum(&packet[..24]), packet.len()), (0, 37));
    }

    #[test]
    fn headers_follow_each_other() {
        let [from, to] = ["[fd00::1]:1000", "[fd00::2]:80"].map(|text| text.parse().expect("an address"));
        let packet = udp(from, to, &[7; 100]);
        let longer = with_options(&packet);
        assert_eq!((longer[6], longer[40], longer[5]), (60, 17, 116));
        assert_eq!(longer[48..], packet[40..]);
        let parts = fragments6(&packet, 16);
        assert_eq!(parts.each_ref().map(Vec::len), [64, 140]);
        assert_eq!([parts[0][43], parts[1][43]], [1, 16]);
    }
}

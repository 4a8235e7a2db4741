//! As much of SCTP (RFC 9260) as tells whether a packet comes through: an INIT, and the INIT ACK that answers it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::Number;

/// Protocol number.
const SCTP: i32 = 132;
/// Kinds of chunks.
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// The common header, and a chunk INIT without parameters.
const LENGTH: usize = 12 + 20;

/// Whether this machine gives raw sockets, in words if it does not.
pub fn available() -> Result<(), String> {
    let open = [Domain::IPV4, Domain::IPV6].map(socket);
    let failed = open.into_iter().find_map(Result::err);
    failed.map_or(Ok(()), |error| Err(format!("raw sockets for SCTP: {error}")))
}

/// Gets all packets of SCTP that come to the calling thread's network namespace. Datagrams are sent and received over it
/// as over one of UDP.
pub(super) fn socket(domain: Domain) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(SCTP)))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(1 << 20)?;
    Ok(socket.into())
}

/// Where raw sockets send to: ports are in the packet.
pub(super) fn raw(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 0)
}

/// A packet as it is here: ports and the number, which is the initiate tag of an INIT and the verification tag of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) number: Number,
    pub(super) is_answer: bool,
}

impl Packet {
    pub(super) fn answer(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            is_answer: true,
            ..self
        }
    }

    pub(super) fn bytes(self) -> [u8; LENGTH] {
        let (kind, tag, initiate) = if self.is_answer {
            (INIT_ACK, self.number.bytes(), [0, 0, 0, 1])
        } else {
            (INIT, [0; 4], self.number.bytes())
        };
        let mut bytes = [0; LENGTH];
        bytes[0..2].copy_from_slice(&self.from.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.to.to_be_bytes());
        bytes[4..8].copy_from_slice(&tag);
        bytes[12] = kind;
        bytes[15] = 20;
        bytes[16..20].copy_from_slice(&initiate);
        // Window, and one stream each way.
        bytes[20..28].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 1]);
        let sum = crc32c(&bytes);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads what a raw socket of IPv4, which shows the header of IP, or of IPv6 received.
    pub(super) fn read(bytes: &[u8], is_v4: bool) -> Option<Self> {
        let header = if is_v4 {
            usize::from(bytes.first()? & 15) * 4
        } else {
            0
        };
        let bytes = bytes.get(header..)?;
        if bytes.len() < LENGTH {
            return None;
        }
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let is_answer = match bytes[12] {
            INIT => false,
            INIT_ACK => true,
            _ => return None,
        };
        Some(Self {
            from: port(0),
            to: port(2),
            number: Number::read(&bytes[if is_answer { 4 } else { 16 }..])?,
            is_answer,
        })
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |sum: u32, byte: &u8| {
        let bit = |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        (0..8).fold(sum ^ u32::from(*byte), bit)
    };
    !bytes.iter().fold(u32::MAX, byte)
}

#[cfg(test)]
mod tests {
    use super::{Number, Packet, crc32c};

    #[test]
    fn packets_are_read_as_they_were_written() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let init = Packet {
            from: 40_000,
            to: 80,
            number: Number::next(),
            is_answer: false,
        };
        for packet in [init, init.answer()] {
            assert_eq!(Packet::read(&packet.bytes(), false), Some(packet));
            let header = [&[0x45][..], &[0; 19]].concat();
            let whole = [&header[..], &packet.bytes()].concat();
            assert_eq!(Packet::read(&whole, true), Some(packet));
        }
        assert_eq!(init.answer().to, 40_000);
        assert_eq!(Packet::read(&[0x45], true), None);
    }
}

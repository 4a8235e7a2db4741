//! What is in a frame, down to where the header behind IP begins.

use core::mem::size_of;

use aya_ebpf::programs::TcContext;
use mesh_common::addr::{Addr, Port};

/// IANA numbers of protocols.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// How many headers may lie between the one of IPv6 and what it carries.
const MOST_EXTENSIONS: usize = 4;

/// `ETH_P_IP`, `ETH_P_IPV6`, `ETH_P_ARP`, `ETH_P_8021Q` and `ETH_P_8021AD`, as on the wire.
const ETHER_IPV4: [u8; 2] = [0x08, 0x00];
const ETHER_IPV6: [u8; 2] = [0x86, 0xdd];
const ETHER_ARP: [u8; 2] = [0x08, 0x06];
const ETHER_VLAN: [u8; 2] = [0x81, 0x00];
const ETHER_PROVIDER: [u8; 2] = [0x88, 0xa8];

/// Length of the link header.
pub const ETHERNET: usize = 14;
const BEHIND_IPV4: usize = ETHERNET + size_of::<Ipv4>();
const BEHIND_IPV6: usize = ETHERNET + size_of::<Ipv6>();

/// The header of IPv4.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv4 {
    pub version_length: u8,
    pub tos: u8,
    pub len: [u8; 2],
    pub id: [u8; 2],
    pub fragment: [u8; 2],
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: [u8; 2],
    pub from: [u8; 4],
    pub to: [u8; 4],
}

impl Ipv4 {
    /// Its length in bytes, as it says.
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        (self.version_length & 0xf) as u32 * 4
    }

    /// Where the piece belongs, in units of eight bytes.
    #[inline(always)]
    pub const fn offset(&self) -> u16 {
        u16::from_be_bytes(self.fragment) & 0x1fff
    }
}

/// The header of IPv6.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv6 {
    pub version_flow: [u8; 4],
    pub payload_len: [u8; 2],
    pub next: u8,
    pub hops: u8,
    pub from: [u8; 16],
    pub to: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Fragment {
    next: u8,
    reserved: u8,
    offset: [u8; 2],
    id: [u8; 4],
}

/// What a frame carries.
pub enum Frame {
    /// IPv4 or IPv6.
    Ip(Packet),
    /// Address resolution.
    Arp,
    /// Anything else.
    Other,
    /// It is not even as long as its first headers, or has more tags than can be looked behind.
    Cut,
}

/// Which piece of a packet this is.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u8)]
pub enum Piece {
    /// All of it.
    Whole = 0,
    /// The one with the header behind IP.
    First = 1,
    /// Another.
    Later = 2,
    /// What follows IP can't be found.
    Unreadable = 3,
}

/// What IP says.
pub struct Packet {
    /// The sender.
    pub source: Addr,
    /// The receiver.
    pub destination: Addr,
    /// Where the header behind IP begins, in bytes from the start of the frame.
    pub header: u32,
    /// Where the packet ends, in bytes from the start of the frame; 0 where IP does not say.
    pub end: u32,
    /// What pieces of one packet have in common.
    pub id: u32,
    /// IANA number of what it carries.
    pub protocol: u8,
    /// What is here of it.
    pub piece: Piece,
}

/// Reads the first headers.
#[inline(always)]
pub fn read(ctx: &TcContext) -> Frame {
    match at::<[u8; 2], 12>(ctx) {
        Some(ETHER_IPV4) => ipv4(ctx),
        Some(ETHER_IPV6) => ipv6(ctx),
        Some(ETHER_ARP) => Frame::Arp,
        // The first tag is no longer in the frame: the kernel keeps it beside.
        Some(ETHER_VLAN | ETHER_PROVIDER) | None => Frame::Cut,
        Some(_) => Frame::Other,
    }
}

#[inline(always)]
fn ipv4(ctx: &TcContext) -> Frame {
    let Some(ip) = at::<Ipv4, ETHERNET>(ctx) else {
        return Frame::Cut;
    };
    let more = ip.fragment[0] & 0x20 != 0;
    let piece = match ip.offset() {
        _ if ip.length() < size_of::<Ipv4>() as u32 => Piece::Unreadable,
        0 if more => Piece::First,
        0 => Piece::Whole,
        // Nobody cuts there, but who wants to write over the flags of the first piece (RFC 3128).
        1 if ip.protocol == TCP => Piece::Unreadable,
        _ => Piece::Later,
    };
    let len = u32::from(u16::from_be_bytes(ip.len));
    Frame::Ip(Packet {
        source: v4(ip.from),
        destination: v4(ip.to),
        header: ETHERNET as u32 + ip.length(),
        end: if len == 0 { 0 } else { ETHERNET as u32 + len },
        id: u32::from(u16::from_be_bytes(ip.id)) | u32::from(ip.protocol) << 16,
        protocol: ip.protocol,
        piece,
    })
}

#[inline(always)]
fn ipv6(ctx: &TcContext) -> Frame {
    let Some(ip) = at::<Ipv6, ETHERNET>(ctx) else {
        return Frame::Cut;
    };
    let len = u32::from(u16::from_be_bytes(ip.payload_len));
    let mut packet = Packet {
        source: v6(ip.from),
        destination: v6(ip.to),
        header: BEHIND_IPV6 as u32,
        end: if len == 0 { 0 } else { BEHIND_IPV6 as u32 + len },
        id: 0,
        protocol: ip.next,
        piece: Piece::Whole,
    };
    if matches!(ip.next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) && !go_behind(ctx, &mut packet) {
        packet.piece = Piece::Unreadable;
    }
    Frame::Ip(packet)
}

/// Goes to what the packet carries, over the headers before it. A function of its own, since most packets have none.
#[inline(never)]
fn go_behind(ctx: &TcContext, packet: &mut Packet) -> bool {
    for _ in 0..=MOST_EXTENSIONS {
        match packet.protocol {
            FRAGMENT => {
                let Ok(fragment) = ctx.load::<Fragment>(packet.header as usize) else {
                    return false;
                };
                let offset = u16::from_be_bytes(fragment.offset);
                packet.header += size_of::<Fragment>() as u32;
                packet.protocol = fragment.next;
                packet.id = u32::from_be_bytes(fragment.id);
                if offset & 0xfff8 != 0 {
                    packet.piece = Piece::Later;
                    return true;
                }
                if offset & 1 != 0 {
                    packet.piece = Piece::First;
                }
            }
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let Ok([next, len]) = ctx.load::<[u8; 2]>(packet.header as usize) else {
                    return false;
                };
                packet.header += (u32::from(len) + 1) * 8;
                packet.protocol = next;
            }
            _ => return true,
        }
    }
    false
}

/// The header behind IP: nearly always right behind an IP header of the usual length. Elsewhere the kernel copies it:
/// without `CAP_PERFMON` nothing but constants may be added to a packet's address.
#[inline(always)]
pub fn header<T: Copy>(ctx: &TcContext, packet: &Packet) -> Option<T> {
    match packet.header as usize {
        BEHIND_IPV4 => at::<T, BEHIND_IPV4>(ctx),
        BEHIND_IPV6 => at::<T, BEHIND_IPV6>(ctx),
        header => ctx.load(header).ok(),
    }
}

/// What lies at a constant place: read where it lies, or copied by the kernel where it lies beyond the linear part.
#[inline(always)]
pub fn at<T: Copy, const OFFSET: usize>(ctx: &TcContext) -> Option<T> {
    let start = ctx.data() + OFFSET;
    if start + size_of::<T>() > ctx.data_end() {
        return ctx.load(OFFSET).ok();
    }
    // SAFETY: the bytes lie within the packet, as just compared; headers are made of bytes, so any alignment will do.
    Some(unsafe { (start as *const T).read_unaligned() })
}

/// An address of IPv4.
#[inline(always)]
pub const fn v4(octets: [u8; 4]) -> Addr {
    Addr::from_v4_word(u32::from_ne_bytes(octets))
}

/// An address of IPv6.
#[inline(always)]
pub fn v6(octets: [u8; 16]) -> Addr {
    let word = |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
    Addr([word(0), word(4), word(8), word(12)])
}

/// A port.
#[inline(always)]
pub const fn port(octets: [u8; 2]) -> Port {
    Port::new(u16::from_be_bytes(octets))
}

//! What is in a frame, down to where the header behind IP begins.

use core::{
    mem::size_of,
    ptr::{addr_of, read_volatile},
};

use aya_ebpf::programs::TcContext;
use mesh_common::addr::{Addr, Port};

use super::skb;

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

/// `ETH_P_IP`, `ETH_P_IPV6`, `ETH_P_ARP`, `ETH_P_8021Q` and `ETH_P_8021AD`.
const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
const ETHER_ARP: u16 = 0x0806;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_PROVIDER: u16 = 0x88a8;

/// Length of the link header.
pub const ETHERNET: u32 = 14;
const BEHIND_IPV6: u32 = ETHERNET + length::<Ipv6>();

/// Length of a header in bytes.
#[expect(clippy::cast_possible_truncation, reason = "headers are short")]
pub const fn length<T>() -> u32 {
    size_of::<T>() as u32
}

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
        u16::from_be_bytes(self.fragment) & OFFSET
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
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u8)]
pub enum Frame {
    /// IPv4 or IPv6.
    Ip,
    /// Address resolution.
    Arp,
    /// Anything else.
    Other,
    /// It is not even as long as its first headers, or has more tags than can be looked behind.
    Cut,
}

/// What [`Packet::fragment`] is where what follows IP can't be found.
const UNREADABLE: u16 = u16::MAX;
/// In [`Packet::fragment`]: other pieces follow.
const MORE: u16 = 0x2000;
/// In [`Packet::fragment`]: where the piece belongs, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

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
    /// Which piece of a packet this is, as IPv4 says it.
    pub fragment: u16,
}

impl Packet {
    /// Before anything is read.
    pub const NONE: Self = Self {
        source: Addr([0; 4]),
        destination: Addr([0; 4]),
        header: 0,
        end: 0,
        id: 0,
        protocol: 0,
        fragment: UNREADABLE,
    };

    /// Whether what follows IP can be found, here or in another piece.
    #[inline(always)]
    pub const fn is_readable(&self) -> bool {
        self.fragment != UNREADABLE
    }

    /// Whether this is all of a packet.
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        self.fragment == 0
    }

    /// Whether this is the first piece of a packet, with the header behind IP.
    #[inline(always)]
    pub const fn is_first(&self) -> bool {
        self.fragment == MORE
    }

    /// Whether the header behind IP is in another piece.
    #[inline(always)]
    pub const fn is_later(&self) -> bool {
        self.is_readable() && self.fragment & OFFSET != 0
    }
}

/// Reads the first headers; `packet` is what IP says, where it is IP. A function of its own, since the programs would run
/// out of stack.
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the word holds sixteen bits, see below"
)]
pub fn read(ctx: &TcContext, packet: &mut Packet) -> Frame {
    // SAFETY: the kernel passes a valid context.
    let protocol = unsafe { read_volatile(addr_of!((*skb(ctx)).protocol)) };
    // The kernel has read it from the frame, and keeps 16 bits of the wire's order in this word.
    match u16::from_be(protocol as u16) {
        ETHER_IPV4 => ipv4(ctx, packet),
        ETHER_IPV6 => ipv6(ctx, packet),
        ETHER_ARP => Frame::Arp,
        // A tag behind the first, which is no longer in the frame: the kernel keeps it beside.
        ETHER_VLAN | ETHER_PROVIDER => Frame::Cut,
        _ => Frame::Other,
    }
}

#[inline(always)]
fn ipv4(ctx: &TcContext, packet: &mut Packet) -> Frame {
    let Ok(ip) = ctx.load::<Ipv4>(ETHERNET as usize) else {
        return Frame::Cut;
    };
    let fragment = u16::from_be_bytes(ip.fragment) & (MORE | OFFSET);
    // Nobody cuts behind the first eight bytes, but who wants to write over the flags of the first piece (RFC 3128).
    let cuts_tcp = ip.protocol == TCP && fragment & OFFSET == 1;
    let short = ip.length() < length::<Ipv4>();
    let len = u32::from(u16::from_be_bytes(ip.len));
    packet.source = v4(ip.from);
    packet.destination = v4(ip.to);
    packet.header = ETHERNET + ip.length();
    packet.end = if len == 0 { 0 } else { ETHERNET + len };
    packet.id = u32::from(u16::from_be_bytes(ip.id)) | u32::from(ip.protocol) << 16;
    packet.protocol = ip.protocol;
    packet.fragment = if short || cuts_tcp { UNREADABLE } else { fragment };
    Frame::Ip
}

#[inline(always)]
fn ipv6(ctx: &TcContext, packet: &mut Packet) -> Frame {
    let Ok(ip) = ctx.load::<Ipv6>(ETHERNET as usize) else {
        return Frame::Cut;
    };
    let len = u32::from(u16::from_be_bytes(ip.payload_len));
    packet.source = v6(ip.from);
    packet.destination = v6(ip.to);
    packet.header = BEHIND_IPV6;
    packet.end = if len == 0 { 0 } else { BEHIND_IPV6 + len };
    packet.protocol = ip.next;
    packet.fragment = 0;
    if matches!(ip.next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) && !go_behind(ctx, packet) {
        packet.fragment = UNREADABLE;
    }
    Frame::Ip
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
                packet.header += length::<Fragment>();
                packet.protocol = fragment.next;
                packet.id = u32::from_be_bytes(fragment.id);
                packet.fragment = (offset >> 3) | ((offset & 1) * MORE);
                if offset >> 3 != 0 {
                    return true;
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

/// The header behind IP. The kernel copies it, wherever it lies: without `CAP_PERFMON` nothing but constants may be added
/// to a packet's address, and who crafts packets chooses what lies in their linear part.
#[inline(always)]
pub fn header<T: Copy>(ctx: &TcContext, packet: &Packet) -> Option<T> {
    ctx.load(packet.header as usize).ok()
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

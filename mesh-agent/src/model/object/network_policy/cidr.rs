//! Prefixes of addresses, and blocks with holes.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use mesh_common::addr::Addr;
use mesh_common::rules::CidrKey;

use super::super::invalid::Fault;

/// A prefix of addresses. As in the tables, IPv4 lies in `::ffff:0:0/96`; but no wider prefix contains it, since those
/// are of IPv6.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cidr {
    bits: u128,
    length: u8,
}

/// `::ffff:0:0`, the first address of IPv4.
const V4: u128 = 0xffff_0000_0000;
/// Length of the prefix that is IPv4.
const V4_LENGTH: u8 = 96;

impl Cidr {
    /// All of IPv4, and all of IPv6.
    pub const ALL: [Self; 2] = [
        Self {
            bits: V4,
            length: V4_LENGTH,
        },
        Self { bits: 0, length: 0 },
    ];

    /// The prefix that holds one address only.
    #[must_use]
    pub fn host(addr: &Addr) -> Self {
        let ip = match IpAddr::from(*addr) {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self {
            bits: ip.to_bits(),
            length: 128,
        }
    }

    /// From a key of the kernel's table; `None` if that is none.
    #[must_use]
    pub fn of_key(key: &CidrKey) -> Option<Self> {
        let length = u8::try_from(key.length).ok().filter(|&length| length <= 128)?;
        let prefix = Self::new(Self::host(&key.addr).bits, length);
        (prefix.addr() == key.addr).then_some(prefix)
    }

    /// The first of its addresses.
    #[must_use]
    pub fn addr(&self) -> Addr {
        IpAddr::V6(Ipv6Addr::from_bits(self.bits)).into()
    }

    /// How many bits of the 128 it fixes (96 more than one says of an IPv4 prefix).
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The prefix of that length that contains this one; `None` where that would be longer, or of another family.
    #[must_use]
    pub fn shortened(&self, length: u8) -> Option<Self> {
        let same_family = length >= V4_LENGTH || !self.is_v4();
        (length <= self.length && same_family).then(|| Self::new(self.bits, length))
    }

    /// Whether another one is a part of this one, or all of it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.shortened(self.length) == Some(*self)
    }

    const fn is_v4(&self) -> bool {
        self.length >= V4_LENGTH && self.bits >> 32 == V4 >> 32
    }

    /// Bits beyond the length count for nothing.
    fn new(bits: u128, length: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self {
            bits: bits & mask,
            length,
        }
    }

    pub(in crate::model::object) fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = || Fault::NotACidr(text.to_owned());
        let (ip, length) = text.split_once('/').ok_or_else(wrong)?;
        let ip: IpAddr = plain(ip).parse().map_err(|_| wrong())?;
        let (bits, shift) = match ip {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), V4_LENGTH),
            IpAddr::V6(v6) => (v6.to_bits(), 0),
        };
        let digits = length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u8 = length.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        let length = length.checked_add(shift).filter(|&it| it <= 128);
        Ok(Self::new(bits, length.ok_or_else(wrong)?))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_v4() {
            write!(f, "{}/{}", self.addr(), self.length - V4_LENGTH)
        } else {
            write!(f, "{}/{}", Ipv6Addr::from_bits(self.bits), self.length)
        }
    }
}

/// An IPv4 address without leading zeros: API servers took those for decades' worth of objects, as decimal.
fn plain(ip: &str) -> String {
    if ip.contains(':') {
        return ip.to_owned();
    }
    let parts = ip.split('.').map(|part| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0",
        part => part,
    });
    parts.collect::<Vec<_>>().join(".")
}

/// A prefix with holes in it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IpBlock {
    /// The prefix.
    pub cidr: Cidr,
    /// The holes, each a strict part of the prefix.
    pub except: Vec<Cidr>,
}

impl IpBlock {
    /// Whether an address is in the block.
    #[must_use]
    pub fn contains(&self, addr: &Addr) -> bool {
        let host = Cidr::host(addr);
        self.cidr.contains(&host) && !self.except.iter().any(|hole| hole.contains(&host))
    }
}

//! Addresses and ports as the kernel tables hold them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IP address: 16 bytes in network order; IPv4 is held v4-mapped (RFC 4291, 2.5.5.2), so that one key
/// type serves both families and a v4-mapped address on an `AF_INET6` socket finds the IPv4 service.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
)]
pub struct Addr(pub [u32; 4]);

/// The third word of a v4-mapped address.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Addr {
    /// From the `user_ip4`-like word of a context (network order).
    #[must_use]
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// Whether what is sent there stays on the sender's own host: loopback (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3), or the
    /// unspecified address, which Linux takes for it.
    #[must_use]
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            self.0[3] == 0 || self.0[3].to_ne_bytes()[0] == 127
        } else {
            self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0 && u32::from_be(self.0[3]) <= 1
        }
    }

    /// The word that goes back into a context's `user_ip4` (network order); meaningful for IPv4 only.
    #[must_use]
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.0[3]
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        let octets = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        }
        .octets();
        let word =
            |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        Self([word(0), word(4), word(8), word(12)])
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(ip: Ipv4Addr) -> Self {
        IpAddr::V4(ip).into()
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        let mut octets = [0; 16];
        for (chunk, word) in octets.chunks_exact_mut(4).zip(addr.0) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        Ipv6Addr::from(octets).to_canonical()
    }
}

impl core::fmt::Display for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// A port in network order, in memory as on the wire.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Port([u8; 2]);

impl Port {
    /// From host order.
    #[must_use]
    #[inline(always)]
    pub const fn new(host_order: u16) -> Self {
        Self(host_order.to_be_bytes())
    }

    /// In host order.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// From the low half of a context's `user_port`-like field (network order).
    #[must_use]
    #[inline(always)]
    pub const fn from_network(word: u16) -> Self {
        Self(word.to_ne_bytes())
    }

    /// As a context's `user_port`-like field holds it (network order).
    #[must_use]
    #[inline(always)]
    pub const fn network(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }
}

impl Ord for Port {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.get().cmp(&other.get())
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Transport protocol by its IANA number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Protocol {
    /// `IPPROTO_TCP`.
    Tcp = 6,
    /// `IPPROTO_UDP`.
    Udp = 17,
}

impl Protocol {
    /// From the IANA number; the mesh handles TCP and UDP and leaves every other protocol alone.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// The name Kubernetes uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// An address and a port, for user space.
#[must_use]
pub fn socket_addr(addr: Addr, port: Port) -> SocketAddr {
    SocketAddr::new(addr.into(), port.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip_in_both_families() {
        for text in ["10.1.2.3", "::1", "fd00::1:2", "0.0.0.0", "255.255.255.255"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(ip)), ip);
            assert_eq!(Addr::from(ip).is_v4(), ip.is_ipv4());
        }
    }

    #[test]
    fn v4_is_the_word_a_context_holds() {
        let addr = Addr::from(Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(addr.v4_word().to_ne_bytes(), [10, 1, 2, 3]);
        assert_eq!(Addr::from_v4_word(addr.v4_word()), addr);
    }

    #[test]
    fn loopback_is_told_in_every_shape() {
        let is = |text: &str| Addr::from(text.parse::<IpAddr>().unwrap()).is_loopback();
        for here in [
            "127.0.0.1",
            "127.9.8.7",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
        ] {
            assert!(is(here), "{here}");
        }
        for away in ["126.0.0.1", "10.0.0.127", "::2", "1::1", "fe80::1", "0.0.0.127"] {
            assert!(!is(away), "{away}");
        }
    }

    #[test]
    fn ports_are_big_endian_in_memory() {
        assert_eq!(Port::new(0x1f90).as_bytes(), [0x1f, 0x90]);
        assert_eq!(Port::from_network(Port::new(8080).network()).get(), 8080);
        assert!(Port::new(255) < Port::new(256));
    }
}

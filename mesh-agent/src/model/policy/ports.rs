//! Ports as prefixes of the lengths that are looked up.

use mesh_common::addr::Port;
use mesh_common::policy::{LENGTHS, OTHER_PROTOCOL, PolicyKey, Transport};

use crate::model::object::network_policy::{PortRange, PortRule};

/// A prefix of a protocol's ports.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Prefix {
    /// As in the tables.
    pub protocol: u8,
    /// Its length in bits.
    pub length: u8,
    /// Its first port.
    pub first: u16,
}

impl Prefix {
    /// All ports of every protocol, and what has none.
    pub const EVERYTHING: [Self; 4] = [
        Self::all(OTHER_PROTOCOL),
        Self::all(Transport::Tcp as u8),
        Self::all(Transport::Udp as u8),
        Self::all(Transport::Sctp as u8),
    ];

    /// All ports of a protocol.
    #[must_use]
    pub const fn all(protocol: u8) -> Self {
        Self {
            protocol,
            length: 0,
            first: 0,
        }
    }

    /// One port.
    #[must_use]
    pub const fn one(transport: Transport, port: u16) -> Self {
        Self {
            protocol: transport as u8,
            length: LENGTHS[0],
            first: port,
        }
    }

    /// Its key in the table.
    #[must_use]
    pub const fn key(self, set: u32, peer: u32) -> PolicyKey {
        PolicyKey::new(set, peer, self.protocol, Port::new(self.first), self.length)
    }

    /// The bit of a listing that says that there are prefixes of this length.
    #[must_use]
    pub fn length_bit(self) -> u8 {
        LENGTHS
            .iter()
            .position(|&length| length == self.length)
            .map_or(0, |bit| 1 << bit)
    }
}

/// The prefixes of what a rule says of ports; a name stands for the port `named` says, or none.
pub fn prefixes(rule: &PortRule, named: impl FnOnce(&str) -> Option<u16>) -> Vec<Prefix> {
    match &rule.range {
        PortRange::All => vec![Prefix::all(rule.transport as u8)],
        PortRange::Numbers { first, last } => cut(rule.transport, *first, *last),
        PortRange::Named(name) => {
            let port = named(name).map(|port| Prefix::one(rule.transport, port));
            port.into_iter().collect()
        }
    }
}

/// Cuts a range into the fewest prefixes of the lengths there are.
fn cut(transport: Transport, first: u16, last: u16) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    let (mut next, last) = (u32::from(first), u32::from(last));
    while next <= last {
        let size = |length: u8| 1_u32 << (16 - length);
        let fits = |length: &u8| next.is_multiple_of(size(*length)) && next + size(*length) - 1 <= last;
        // The lengths go from longest to shortest, and a single port always fits.
        let length = LENGTHS.into_iter().rev().find(fits).unwrap_or(16);
        let Ok(first) = u16::try_from(next) else { break };
        prefixes.push(Prefix {
            protocol: transport as u8,
            length,
            first,
        });
        next += size(length);
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use mesh_common::policy::prefix_mask;

    use super::*;

    fn pieces(first: u16, last: u16) -> Vec<(u16, u8)> {
        let cut = cut(Transport::Tcp, first, last).into_iter();
        cut.map(|prefix| (prefix.first, prefix.length)).collect()
    }

    #[test]
    fn ranges_are_cut_where_prefixes_end() {
        assert_eq!(pieces(80, 80), [(80, 16)]);
        assert_eq!(pieces(0, 65535), [(0, 0)]);
        assert_eq!(pieces(80, 95), [(80, 12)]);
        assert_eq!(pieces(79, 97), [(79, 16), (80, 12), (96, 16), (97, 16)]);
        assert_eq!(pieces(65535, 65535), [(65535, 16)]);
        assert_eq!(pieces(9, 8), []);
    }

    #[test]
    fn the_worst_range_has_a_hundred_pieces() {
        // Fifteen of each of the three longer lengths at both ends, fourteen of 4 bits between.
        assert_eq!(pieces(1, 65534).len(), 104);
    }

    #[test]
    fn pieces_hold_the_ports_of_the_range_and_no_others() {
        for (first, last) in [(1, 65534), (1, 1024), (30000, 32767), (443, 8443), (4095, 4097)] {
            let pieces = pieces(first, last);
            for port in 0..=u16::MAX {
                let holding = pieces
                    .iter()
                    .filter(|(at, length)| port & prefix_mask(*length) == *at);
                let expected = usize::from((first..=last).contains(&port));
                assert_eq!(holding.count(), expected, "{port} in {first}..={last}");
            }
        }
    }
}

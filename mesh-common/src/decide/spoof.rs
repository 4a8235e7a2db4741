//! Whose address may a pod use? Its own, and what its namespace's owner allows; nobody's else.

use crate::addr::Addr;

/// What an address at a pod's interface is, before any table is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// The pod's own.
    Own,
    /// One that neighbours of IPv6 use among themselves: for their discovery only.
    Neighbour,
    /// One of many receivers.
    Many,
    /// Any other: the tables know whether it is the pod's.
    Other,
}

/// What a source of what comes out of a pod is. `own`: its first address of that family.
#[must_use]
#[inline(always)]
pub const fn source(source: &Addr, own: &Addr) -> Claim {
    if is_unspecified(source) {
        Claim::Neighbour
    } else if same(source, own) {
        Claim::Own
    } else if is_link_local(source) {
        Claim::Neighbour
    } else {
        Claim::Other
    }
}

/// What a destination of what goes into a pod is.
#[must_use]
#[inline(always)]
pub const fn destination(destination: &Addr, own: &Addr) -> Claim {
    if same(destination, own) && !is_unspecified(own) {
        Claim::Own
    } else if is_link_local(destination) {
        Claim::Neighbour
    } else if is_many(destination) {
        Claim::Many
    } else {
        Claim::Other
    }
}

/// Type of a neighbour advertisement (RFC 4861, 4.4).
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Whether an `ICMPv6` message may come from a link-local or from no address: multicast listeners (RFC 2710, RFC 3810),
/// router solicitation and neighbours (RFC 4861). Router advertisements and redirects are no pod's to send.
#[must_use]
#[inline(always)]
pub const fn is_neighbourly(icmp_type: u8) -> bool {
    matches!(icmp_type, 130..=133 | 135 | NEIGHBOUR_ADVERTISEMENT | 143)
}

/// Whether an address is link-local (RFC 4291, 2.5.6). Those of IPv4 are like any other: pods are not given any.
#[must_use]
#[inline(always)]
pub const fn is_link_local(addr: &Addr) -> bool {
    !addr.is_v4() && u32::from_be(addr.0[0]) >> 22 == 0xfe80_0000 >> 22
}

/// Whether this is the unspecified address of IPv6.
const fn is_unspecified(addr: &Addr) -> bool {
    addr.0[0] == 0 && addr.0[1] == 0 && addr.0[2] == 0 && addr.0[3] == 0
}

/// Multicast, and the broadcast of IPv4 that needs no prefix to be told.
const fn is_many(addr: &Addr) -> bool {
    if addr.is_v4() {
        let word = u32::from_be(addr.0[3]);
        word >> 28 == 0xe || word == u32::MAX
    } else {
        u32::from_be(addr.0[0]) >> 24 == 0xff
    }
}

const fn same(one: &Addr, other: &Addr) -> bool {
    one.0[0] == other.0[0] && one.0[1] == other.0[1] && one.0[2] == other.0[2] && one.0[3] == other.0[3]
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn sources_are_own_or_neighbours_or_must_be_looked_up() {
        for (text, own, claim) in [
            ("10.0.0.1", "10.0.0.1", Claim::Own),
            ("10.0.0.2", "10.0.0.1", Claim::Other),
            ("0.0.0.0", "10.0.0.1", Claim::Other),
            ("255.255.255.255", "10.0.0.1", Claim::Other),
            ("169.254.0.1", "10.0.0.1", Claim::Other),
            ("fd00::1", "fd00::1", Claim::Own),
            ("fd00::2", "fd00::1", Claim::Other),
            ("fe80::1", "fd00::1", Claim::Neighbour),
            ("febf::1", "fd00::1", Claim::Neighbour),
            ("fec0::1", "fd00::1", Claim::Other),
            ("::", "fd00::1", Claim::Neighbour),
            ("::1", "fd00::1", Claim::Other),
            ("ff02::1", "fd00::1", Claim::Other),
        ] {
            assert_eq!(source(&addr(text), &addr(own)), claim, "{text}");
        }
    }

    #[test]
    fn a_pod_without_an_address_of_a_family_owns_none_of_it() {
        let none = Addr::default();
        assert_eq!(source(&addr("10.0.0.1"), &none), Claim::Other);
        assert_eq!(source(&addr("0.0.0.0"), &none), Claim::Other);
        assert_eq!(source(&addr("fd00::1"), &none), Claim::Other);
        assert_eq!(source(&addr("::"), &none), Claim::Neighbour);
        assert_eq!(destination(&addr("::"), &none), Claim::Other);
    }

    #[test]
    fn destinations_may_be_many() {
        for (text, own, claim) in [
            ("10.0.0.1", "10.0.0.1", Claim::Own),
            ("10.0.0.2", "10.0.0.1", Claim::Other),
            ("224.0.0.251", "10.0.0.1", Claim::Many),
            ("239.255.0.1", "10.0.0.1", Claim::Many),
            ("240.0.0.1", "10.0.0.1", Claim::Other),
            ("255.255.255.255", "10.0.0.1", Claim::Many),
            ("ff02::1:ff00:1", "fd00::1", Claim::Many),
            ("fe80::1", "fd00::1", Claim::Neighbour),
            ("fd00::2", "fd00::1", Claim::Other),
        ] {
            assert_eq!(destination(&addr(text), &addr(own)), claim, "{text}");
        }
    }

    #[test]
    fn pods_solicit_and_answer_but_advertise_no_routes() {
        let passes = |kind| is_neighbourly(kind);
        assert!([130, 131, 132, 133, 135, 136, 143].into_iter().all(passes));
        assert!(![1, 128, 129, 134, 137, 138].into_iter().any(passes));
    }
}

//! What an ICMP message is to a pod's policies, which cannot name any.

/// What a message is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Use {
    /// Keeps the network working, or asks whether a host is there: passes.
    Upkeep,
    /// Tells what became of a packet, whose beginning it carries: passes where that one may.
    Error,
    /// Anything else: a protocol without ports.
    Other,
}

/// Of a type of ICMP (RFC 792).
#[must_use]
#[inline(always)]
pub const fn v4(kind: u8) -> Use {
    match kind {
        0 | 8 => Use::Upkeep,
        3 | 11 | 12 => Use::Error,
        _ => Use::Other,
    }
}

/// Of a type of `ICMPv6` (RFC 4443): echo, listeners (RFC 2710, RFC 3810), routers and neighbours (RFC 4861).
#[must_use]
#[inline(always)]
pub const fn v6(kind: u8) -> Use {
    match kind {
        128..=136 | 143 => Use::Upkeep,
        1..=4 => Use::Error,
        _ => Use::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_use() {
        for (kind, of_v4, of_v6) in [
            (0, Use::Upkeep, Use::Other),
            (1, Use::Other, Use::Error),
            (3, Use::Error, Use::Error),
            (4, Use::Other, Use::Error),
            (5, Use::Other, Use::Other),
            (8, Use::Upkeep, Use::Other),
            (11, Use::Error, Use::Other),
            (12, Use::Error, Use::Other),
            (13, Use::Other, Use::Other),
            (128, Use::Other, Use::Upkeep),
            (136, Use::Other, Use::Upkeep),
            (137, Use::Other, Use::Other),
            (143, Use::Other, Use::Upkeep),
        ] {
            assert_eq!((v4(kind), v6(kind)), (of_v4, of_v6), "{kind}");
        }
    }
}

//! Does a packet of a pod under policies pass, given what is remembered of its flow?

use crate::conntrack::flag;
use crate::policy::Direction;
use crate::tag::Tagged;

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nothing.
    Unknown,
    /// It passes.
    Current {
        /// Bits of [`flag`].
        flags: u8,
    },
    /// It passed under policies that have changed since.
    Stale {
        /// In which direction it was opened.
        opened: Direction,
    },
    /// TCP: it was refused, and the peer is to get a reset.
    Refused,
}

/// What an entry says now. `policy`: the policies' generation; `audit`: whether the pod's namespace is in audit mode.
#[must_use]
#[inline(always)]
pub const fn standing(entry: Option<Tagged>, policy: u32, audit: bool) -> Standing {
    let Some(entry) = entry else {
        return Standing::Unknown;
    };
    let flags = entry.flags();
    if flags & flag::REFUSED != 0 {
        return Standing::Refused;
    }
    let audited = flags & flag::AUDITED == 0 || audit;
    if flags & flag::HOST != 0 || entry.id() == policy && audited {
        return Standing::Current { flags };
    }
    let opened = if flags & flag::BY_PEER == 0 {
        Direction::Egress
    } else {
        Direction::Ingress
    };
    Standing::Stale { opened }
}

/// What a pod's policies say in one direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ruling {
    /// No policy selects the pod.
    Open,
    /// A rule lets it pass.
    Allowed,
    /// No rule lets it pass, which is only reported.
    Audited,
    /// No rule lets it pass.
    Denied,
}

impl Ruling {
    const fn flags(self, direction: Direction) -> u8 {
        let by = match direction {
            Direction::Ingress => flag::BY_PEER,
            Direction::Egress => 0,
        };
        match self {
            Self::Audited => by | flag::AUDITED,
            Self::Open | Self::Allowed | Self::Denied => by,
        }
    }

    const fn passes(self) -> bool {
        !matches!(self, Self::Denied)
    }
}

/// What becomes of what is remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Nothing.
    None,
    /// It is still in use.
    Refresh,
    /// It is entered, or written anew, with these bits of [`flag`].
    Enter(u8),
    /// It is over.
    Forget,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    /// Whether it passes.
    pub passes: bool,
    /// What becomes of what is remembered.
    pub change: Change,
    /// In which direction it was judged; its own where it was not. Always set: without `CAP_PERFMON` the kernel takes no
    /// program that moves what is not.
    pub direction: Direction,
    /// What was said, where that is to be counted.
    pub said: Option<Ruling>,
}

impl Decision {
    const fn pass(way: Direction, change: Change) -> Self {
        Self {
            passes: true,
            change,
            direction: way,
            said: None,
        }
    }

    /// As a ruling says; what passes is entered.
    const fn ruled(direction: Direction, ruling: Ruling) -> Self {
        let passes = ruling.passes();
        Self {
            passes,
            change: if passes {
                Change::Enter(ruling.flags(direction))
            } else {
                Change::None
            },
            direction,
            said: Some(ruling),
        }
    }

    const fn of_host() -> Self {
        Self::pass(Direction::Ingress, Change::Enter(flag::BY_PEER | flag::HOST))
    }
}

/// A datagram, or a packet of any protocol but TCP. `way`: [`Direction::Egress`] out of the pod. `is_hosts` tells whether
/// it comes from this host itself, `judge` asks the policies.
#[inline(always)]
pub fn datagram(
    way: Direction,
    standing: Standing,
    is_hosts: impl FnOnce() -> bool,
    mut judge: impl FnMut(Direction) -> Ruling,
) -> Decision {
    match standing {
        Standing::Current { .. } => return Decision::pass(way, Change::Refresh),
        Standing::Stale { opened } if opened as u8 != way as u8 => {
            let ruling = judge(opened);
            if ruling.passes() {
                return Decision::ruled(opened, ruling);
            }
        }
        Standing::Stale { .. } | Standing::Refused | Standing::Unknown => {}
    }
    if matches!(way, Direction::Ingress) && is_hosts() {
        return Decision::of_host();
    }
    Decision::ruled(way, judge(way))
}

/// What a TCP segment is to its flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// The flags of its header (RFC 9293, 3.1): the low eight bits.
    pub flags: u8,
    /// Whether it carries data.
    pub payload: bool,
}

impl Segment {
    /// Whether it asks the pod for a connection, and nothing else: its listener is asked about it, too.
    #[must_use]
    #[inline(always)]
    pub const fn asks_pod(self, way: Direction) -> bool {
        matches!(way, Direction::Ingress) && self.flags & (SYN | ACK | RST) == SYN && !self.payload
    }
}

const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// A TCP segment; see [`datagram`].
///
/// What opens a connection is judged in its direction. Other segments of a flow that is not known, as it was evicted or is
/// older than the pod's policies, pass where it may have been opened from either end. What opens one towards the pod and
/// is refused goes in without data, if it has none, so that the peer is told: the pod's kernel answers with a reset.
#[inline(always)]
pub fn segment(
    way: Direction,
    segment: Segment,
    standing: Standing,
    is_hosts: impl FnOnce() -> bool,
    mut judge: impl FnMut(Direction) -> Ruling,
) -> Decision {
    let inbound = matches!(way, Direction::Ingress);
    let resets = segment.flags & RST != 0;
    if !resets && segment.flags & (SYN | ACK) == SYN {
        if inbound && is_hosts() {
            return Decision::of_host();
        }
        let ruled = Decision::ruled(way, judge(way));
        let fresh = matches!(standing, Standing::Unknown | Standing::Refused);
        if inbound && fresh && !ruled.passes && !segment.payload {
            return Decision {
                passes: true,
                change: Change::Enter(flag::BY_PEER | flag::REFUSED),
                ..ruled
            };
        }
        return ruled;
    }
    match standing {
        Standing::Current { .. } | Standing::Stale { .. } if resets => Decision::pass(way, Change::Forget),
        Standing::Current { flags } => Decision::pass(way, ending(way, segment, flags)),
        Standing::Stale { opened } => Decision::ruled(opened, judge(opened)),
        Standing::Refused if resets && !inbound => Decision::pass(way, Change::Forget),
        Standing::Refused => Decision {
            passes: false,
            change: Change::None,
            direction: way,
            said: None,
        },
        Standing::Unknown => {
            if inbound && is_hosts() {
                return Decision::of_host();
            }
            let ruled = Decision::ruled(way, judge(way));
            let ruled = if ruled.passes {
                ruled
            } else {
                let other = if inbound {
                    Direction::Egress
                } else {
                    Direction::Ingress
                };
                let ruling = judge(other);
                if matches!(ruling, Ruling::Open | Ruling::Allowed) {
                    Decision::ruled(other, ruling)
                } else {
                    ruled
                }
            };
            if ruled.passes && resets {
                return Decision {
                    change: Change::None,
                    ..ruled
                };
            }
            ruled
        }
    }
}

/// Both ends say when they have sent all; what comes then without anything new acknowledges the later one's word.
const fn ending(way: Direction, segment: Segment, flags: u8) -> Change {
    const BOTH: u8 = flag::FIN_BY_POD | flag::FIN_BY_PEER;
    let by = match way {
        Direction::Egress => flag::FIN_BY_POD,
        Direction::Ingress => flag::FIN_BY_PEER,
    };
    if segment.flags & FIN != 0 {
        if flags & by == 0 {
            return Change::Enter(flags | by);
        }
        return Change::None;
    }
    if flags & BOTH == BOTH && !segment.payload {
        return Change::Forget;
    }
    Change::None
}

#[cfg(test)]
mod tests;

//! Records of connections: the same shape for a live one, read by the iterator, and for the last word on one
//! that ended, sent through the ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{accel::Moved, policy::Denial, sock::SockState};

/// What TCP knows of a connection (`struct tcp_sock`), raw.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct TcpFigures {
    /// Sequence space the peer acknowledged, with SYN and FIN (RFC 4898, `tcpEStatsAppHCThruOctetsAcked`).
    pub bytes_acked: u64,
    /// Sequence space received in order, with FIN.
    pub bytes_received: u64,
    /// Segments sent.
    pub segs_out: u32,
    /// Segments received.
    pub segs_in: u32,
    /// Smoothed round-trip time, eight times microseconds, as TCP keeps it.
    pub srtt_us8: u32,
    /// Segments sent again, over the whole life.
    pub retransmits: u32,
    /// First sequence number not acknowledged.
    pub snd_una: u32,
    /// Next sequence number to send.
    pub snd_nxt: u32,
    /// Next sequence number expected.
    pub rcv_nxt: u32,
    /// TCP state (`enum` in `include/net/tcp_states.h`); at the end, the one it ended from.
    pub state: u32,
}

/// Where the kernel keeps [`TcpFigures`], in bytes from the start of `struct tcp_sock`; they differ between
/// kernels, so user space takes them from the running one's type information.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct TcpOffsets {
    /// `bytes_acked`.
    pub bytes_acked: u32,
    /// `bytes_received`.
    pub bytes_received: u32,
    /// `segs_out`.
    pub segs_out: u32,
    /// `segs_in`.
    pub segs_in: u32,
    /// `srtt_us`.
    pub srtt_us8: u32,
    /// `total_retrans`.
    pub retransmits: u32,
    /// `snd_una`.
    pub snd_una: u32,
    /// `snd_nxt`.
    pub snd_nxt: u32,
    /// `rcv_nxt`.
    pub rcv_nxt: u32,
    /// `skc_state` of the `sock_common` at the start.
    pub state: u32,
}

impl TcpOffsets {
    /// Before user space has set them.
    pub const NONE: Self = Self {
        bytes_acked: 0,
        bytes_received: 0,
        segs_out: 0,
        segs_in: 0,
        srtt_us8: 0,
        retransmits: 0,
        snd_una: 0,
        snd_nxt: 0,
        rcv_nxt: 0,
        state: 0,
    };
}

/// A live connection as the iterator writes it. Of one over UDP nothing but [`Self::sock`] is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct LiveFlow {
    /// What the programs remember.
    pub sock: SockState,
    /// What TCP knows now.
    pub tcp: TcpFigures,
    /// What came in by redirect.
    pub received: Moved,
}

/// An event of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct FlowEvent {
    /// [`EventKind`] as a number.
    pub kind: u32,
    /// IANA protocol number.
    pub protocol: u32,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// What the programs remember.
    pub sock: SockState,
    /// What TCP knew; zero for what is no TCP connection.
    pub tcp: TcpFigures,
    /// What had come in by redirect.
    pub received: Moved,
    /// What refused it; zero for what no policy refused.
    pub denial: Denial,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum EventKind {
    /// Established; sent only while somebody watches (see [`crate::config::flag::WATCHED`]).
    Opened = 1,
    /// Ended.
    Closed = 2,
    /// Refused at once: the service has no endpoint.
    NoEndpoint = 3,
    /// Refused at once: the tables contradicted each other.
    Inconsistent = 4,
    /// Refused at once: the pod is not known by its network namespace yet, and its namespace fails closed.
    Pending = 5,
    /// Refused by a policy, at once where a socket asked.
    Denied = 6,
    /// What a policy would have refused passed, since the namespace is in audit mode.
    Audited = 7,
}

impl EventKind {
    /// From its number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Opened),
            2 => Some(Self::Closed),
            3 => Some(Self::NoEndpoint),
            4 => Some(Self::Inconsistent),
            5 => Some(Self::Pending),
            6 => Some(Self::Denied),
            7 => Some(Self::Audited),
            _ => None,
        }
    }
}

/// Key of `TRAFFIC`: a pod of this node and a service (0: none).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct TrafficKey {
    /// Workload id of the pod whose sockets are counted.
    pub pod: u32,
    /// Service id.
    pub service: u32,
}

/// Value of `TRAFFIC`, per CPU: totals of the TCP connections a pod's sockets had.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Traffic {
    /// Connections established.
    pub opened: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Connections that were never established.
    pub failed: u64,
    /// Bytes the peers acknowledged or got by redirect, of connections that ended.
    pub bytes_sent: u64,
    /// Bytes received on either path, of connections that ended.
    pub bytes_received: u64,
    /// What of it was sent by redirect.
    pub redirected_sent: Moved,
    /// What of it came by redirect.
    pub redirected_received: Moved,
}

impl Traffic {
    /// The sum of two.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            opened: self.opened.wrapping_add(other.opened),
            closed: self.closed.wrapping_add(other.closed),
            failed: self.failed.wrapping_add(other.failed),
            bytes_sent: self.bytes_sent.wrapping_add(other.bytes_sent),
            bytes_received: self.bytes_received.wrapping_add(other.bytes_received),
            redirected_sent: self.redirected_sent.plus(other.redirected_sent),
            redirected_received: self.redirected_received.plus(other.redirected_received),
        }
    }
}

//! What the programs remember of a socket.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    accel::{Accel, SocketKey},
    addr::{Addr, Port},
};

/// Socket storage: lives exactly as long as the socket, so no table can evict it.
///
/// The connect hook writes what was asked and where the socket was sent, the socket operations the rest.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct SockState {
    /// What the application dialled; on the accepting side its own address.
    pub asked_addr: Addr,
    /// The other end as the wire knows it. `connect(AF_UNSPEC)` runs no hook and leaves this standing, so it
    /// is trusted only where it equals the peer at hand.
    pub remote_addr: Addr,
    /// This end.
    pub local_addr: Addr,
    /// Port of [`Self::asked_addr`].
    pub asked_port: Port,
    /// Port of [`Self::remote_addr`].
    pub remote_port: Port,
    /// Port of [`Self::local_addr`].
    pub local_port: Port,
    /// Always 0.
    pub reserved: u16,
    /// Service id; 0 where no service was dialled.
    pub service: u32,
    /// Backend id; 0 where no service was dialled.
    pub backend: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Sequence number of the peer's FIN, once [`flag::FIN_SEEN`].
    pub fin_seq: u32,
    /// Workload id of the pod that owns the socket.
    pub pod: u32,
    /// Workload id of the other end, by its address; 0 where that is no pod.
    pub peer: u32,
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Cookie of the socket.
    pub cookie: u64,
    /// When the connection was asked for, in nanoseconds of `CLOCK_MONOTONIC`.
    pub opened_ns: u64,
    /// When it was established; 0 while it is not.
    pub established_ns: u64,
    /// [`crate::config::Config::policy`] when it was last judged.
    pub policy: u32,
    /// Always 0.
    pub reserved_policy: u32,
    /// What acceleration did for it.
    pub accel: Accel,
}

impl SockState {
    /// What the socket is known by where sockets are looked up by their ends.
    #[must_use]
    #[inline(always)]
    pub const fn key(&self) -> SocketKey {
        SocketKey {
            pod: self.pod,
            local: self.local_addr,
            remote: self.remote_addr,
            local_port: self.local_port,
            remote_port: self.remote_port,
        }
    }
}

/// Flags of [`SockState`].
pub mod flag {
    /// This end connected.
    pub const ACTIVE: u32 = 1;
    /// This end accepted.
    pub const PASSIVE: u32 = 1 << 1;
    /// A segment with the peer's FIN was seen.
    pub const FIN_SEEN: u32 = 1 << 2;
    /// The pod's owner asks for acceleration.
    pub const ACCELERATED: u32 = 1 << 3;
    /// A socket of the mesh itself.
    pub const OWN: u32 = 1 << 4;
    /// Its pod was pending when it asked for this: known by the cgroup of the process.
    pub const PENDING: u32 = 1 << 5;
    /// A UDP socket that is connected to a service. Only the connect hook sees it: its own end, its peer's close and
    /// times are not known.
    pub const DATAGRAM: u32 = 1 << 6;
}

/// Key of `UDP_FLOWS`: an unconnected UDP socket and a service it sends to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct UdpFlowKey {
    /// Socket cookie.
    pub socket: u64,
    /// Service id.
    pub service: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Value of `UDP_FLOWS`: the backend this socket keeps for that service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct UdpFlow {
    /// Backend id.
    pub backend: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Key of `UDP_PEERS`: a UDP socket and the backend that answers it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct UdpPeerKey {
    /// Socket cookie.
    pub socket: u64,
    /// Address of the backend.
    pub addr: Addr,
    /// Port of the backend.
    pub port: Port,
    /// Always 0.
    pub reserved: [u16; 3],
}

/// Value of `UDP_PEERS`: what the application had asked for. Where two services share a backend and one
/// socket asks both, the most recent question wins: a datagram does not say which it answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct UdpPeer {
    /// Address of the service.
    pub addr: Addr,
    /// Port of the service.
    pub port: Port,
    /// Always 0.
    pub reserved: u16,
    /// Service id.
    pub service: u32,
}

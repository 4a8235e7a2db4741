//! What the programs remember of a socket.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::{Addr, Port};

/// Socket storage: lives exactly as long as the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct SockState {
    /// What the application dialled.
    pub asked_addr: Addr,
    /// Where the socket was sent. `connect(AF_UNSPEC)` runs no hook and leaves this standing, so trust it
    /// only where it equals the peer at hand.
    pub backend_addr: Addr,
    /// Port of [`Self::asked_addr`].
    pub asked_port: Port,
    /// Port of [`Self::backend_addr`].
    pub backend_port: Port,
    /// Service id.
    pub service: u32,
    /// Backend id.
    pub backend: u32,
    /// Always 0.
    pub reserved: u32,
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

//! From TCP's sequence space to the application's bytes: SYN and FIN each take one number and are no byte.

use crate::{
    accel::Moved,
    flow::TcpFigures,
    sock::{SockState, flag},
};

/// TCP states (`include/net/tcp_states.h`).
pub mod state {
    /// Open.
    pub const ESTABLISHED: u32 = 1;
    /// SYN sent.
    pub const SYN_SENT: u32 = 2;
    /// SYN received.
    pub const SYN_RECV: u32 = 3;
    /// FIN sent, not acknowledged.
    pub const FIN_WAIT1: u32 = 4;
    /// FIN sent and acknowledged.
    pub const FIN_WAIT2: u32 = 5;
    /// FIN sent and acknowledged, and received.
    pub const TIME_WAIT: u32 = 6;
    /// Ended.
    pub const CLOSE: u32 = 7;
    /// FIN received.
    pub const CLOSE_WAIT: u32 = 8;
    /// FIN received, own FIN sent.
    pub const LAST_ACK: u32 = 9;
    /// Both FINs crossed.
    pub const CLOSING: u32 = 11;
}

/// Bytes of the application that the peer's TCP acknowledged, or that went past TCP into the peer's queue.
#[must_use]
#[inline(always)]
pub const fn bytes_sent(sock: &SockState, tcp: &TcpFigures) -> u64 {
    // The passive side's SYN is acknowledged before its counter starts.
    let syn = (sock.flags & flag::ACTIVE != 0) as u64;
    let fin = fin_acknowledged(tcp) as u64;
    tcp.bytes_acked.saturating_sub(syn + fin) + sock.accel.redirected.bytes
}

/// Bytes of the application that were received in order; `redirected` is what came past TCP.
#[must_use]
#[inline(always)]
pub const fn bytes_received(sock: &SockState, tcp: &TcpFigures, redirected: Moved) -> u64 {
    tcp.bytes_received.saturating_sub(fin_received(sock, tcp) as u64) + redirected.bytes
}

const fn fin_acknowledged(tcp: &TcpFigures) -> bool {
    match tcp.state {
        state::FIN_WAIT2 | state::TIME_WAIT => true,
        state::CLOSING | state::LAST_ACK => tcp.snd_una == tcp.snd_nxt,
        _ => false,
    }
}

/// Once our FIN is out, the state no longer tells whether the peer's arrived before the socket was given up;
/// then the sequence number of the FIN does, which the programs note when they see it pass.
const fn fin_received(sock: &SockState, tcp: &TcpFigures) -> bool {
    match tcp.state {
        state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING => true,
        state::FIN_WAIT1 | state::FIN_WAIT2 | state::TIME_WAIT => {
            sock.flags & flag::FIN_SEEN != 0 && tcp.rcv_nxt == sock.fin_seq.wrapping_add(1)
        }
        _ => false,
    }
}

/// How a connection ended, as far as the kernel tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// In order: this end's FIN was acknowledged.
    Closed,
    /// It was never established: refused, unreachable, timed out, or given up.
    ConnectFailed,
    /// By a reset of either side, a time-out, or a close that left data unread.
    Reset,
}

impl End {
    /// From the state a connection ended from.
    #[must_use]
    pub const fn of(tcp: &TcpFigures) -> Self {
        match tcp.state {
            state::SYN_SENT | state::SYN_RECV => Self::ConnectFailed,
            _ if fin_acknowledged(tcp) => Self::Closed,
            _ => Self::Reset,
        }
    }

    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ConnectFailed => "connect_failed",
            Self::Reset => "reset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sock(flags: u32, fin_seq: u32) -> SockState {
        SockState {
            flags,
            fin_seq,
            ..SockState::default()
        }
    }

    fn received(sock: &SockState, tcp: &TcpFigures) -> u64 {
        bytes_received(sock, tcp, Moved::default())
    }

    fn tcp(state: u32, bytes_acked: u64, bytes_received: u64) -> TcpFigures {
        TcpFigures {
            bytes_acked,
            bytes_received,
            state,
            ..TcpFigures::default()
        }
    }

    #[test]
    fn an_open_connection_counts_its_syn_on_the_active_side_only() {
        let figures = tcp(state::ESTABLISHED, 101, 200);
        assert_eq!(bytes_sent(&sock(flag::ACTIVE, 0), &figures), 100);
        assert_eq!(bytes_sent(&sock(flag::PASSIVE, 0), &figures), 101);
        assert_eq!(received(&sock(flag::ACTIVE, 0), &figures), 200);
    }

    #[test]
    fn an_active_close_counts_the_peers_fin_only_if_it_was_taken_in() {
        let mut figures = TcpFigures {
            rcv_nxt: 1_000,
            ..tcp(state::FIN_WAIT2, 102, 201)
        };
        assert_eq!(bytes_sent(&sock(flag::ACTIVE, 0), &figures), 100);
        assert_eq!(received(&sock(flag::ACTIVE | flag::FIN_SEEN, 999), &figures), 200);
        figures.rcv_nxt = 990;
        assert_eq!(received(&sock(flag::ACTIVE | flag::FIN_SEEN, 999), &figures), 201);
        assert_eq!(received(&sock(flag::ACTIVE, 0), &figures), 201);
    }

    #[test]
    fn a_passive_close_has_the_peers_fin_and_perhaps_the_acknowledgement_of_its_own() {
        let mut figures = TcpFigures {
            snd_una: 7,
            snd_nxt: 7,
            ..tcp(state::LAST_ACK, 51, 101)
        };
        assert_eq!(bytes_sent(&sock(flag::PASSIVE, 0), &figures), 50);
        assert_eq!(received(&sock(flag::PASSIVE, 0), &figures), 100);
        assert_eq!(End::of(&figures), End::Closed);
        figures.snd_nxt = 8;
        assert_eq!(bytes_sent(&sock(flag::PASSIVE, 0), &figures), 51);
        assert_eq!(End::of(&figures), End::Reset);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let figures = TcpFigures {
            rcv_nxt: 0,
            ..tcp(state::FIN_WAIT2, 2, 2)
        };
        assert_eq!(received(&sock(flag::FIN_SEEN, u32::MAX), &figures), 1);
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(End::of(&tcp(state::SYN_SENT, 0, 0)), End::ConnectFailed);
        assert_eq!(End::of(&tcp(state::FIN_WAIT2, 0, 0)), End::Closed);
        assert_eq!(End::of(&tcp(state::ESTABLISHED, 0, 0)), End::Reset);
        assert_eq!(End::of(&tcp(state::CLOSE_WAIT, 0, 0)), End::Reset);
    }
}

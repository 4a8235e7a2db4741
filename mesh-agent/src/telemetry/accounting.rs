//! From readings of live connections and last words to growth: every byte is added once, whichever of the
//! two tells of it first.

use std::collections::{HashMap, HashSet};

use mesh_common::{
    accel::Moved,
    decide::tcp::{self, state},
    flow::{LiveFlow, TcpFigures},
    sock::SockState,
};

/// What one connection grew by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Growth {
    /// Whether nothing was heard of it before.
    pub first: bool,
    /// Bytes sent and acknowledged.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// What of it was sent past TCP.
    pub redirected_sent: Moved,
    /// What of it came past TCP.
    pub redirected_received: Moved,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    sent: u64,
    received: u64,
    redirected_sent: Moved,
    redirected_received: Moved,
}

impl Totals {
    fn now(sock: &SockState, tcp: &TcpFigures, received: Moved) -> Self {
        Self {
            sent: tcp::bytes_sent(sock, tcp),
            received: tcp::bytes_received(sock, tcp, received),
            redirected_sent: sock.accel.redirected,
            redirected_received: received,
        }
    }

    /// What was added to what was known.
    fn since(self, known: Option<Self>) -> Growth {
        let before = known.unwrap_or_default();
        Growth {
            first: known.is_none(),
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
            redirected_sent: self.redirected_sent.since(before.redirected_sent),
            redirected_received: self.redirected_received.since(before.redirected_received),
        }
    }

    /// The greater of each.
    fn or(self, other: Self) -> Self {
        let greater = |one: Moved, other: Moved| Moved {
            messages: one.messages.max(other.messages),
            bytes: one.bytes.max(other.bytes),
        };
        Self {
            sent: self.sent.max(other.sent),
            received: self.received.max(other.received),
            redirected_sent: greater(self.redirected_sent, other.redirected_sent),
            redirected_received: greater(self.redirected_received, other.redirected_received),
        }
    }
}

/// The connections that were in a reading.
#[derive(Debug)]
pub struct Seen(HashSet<(u64, u64)>);

/// What was added already, by the socket's cookie and the time of its connection (a socket can connect again).
#[derive(Debug, Default)]
pub struct Accounting {
    counted: HashMap<(u64, u64), Totals>,
}

impl Accounting {
    /// Takes a complete reading of the live connections; calls `grown` for each that grew. Afterwards take all
    /// last words that wait, then [`Self::prune`].
    #[must_use]
    pub fn live(&mut self, flows: &[LiveFlow], mut grown: impl FnMut(&SockState, Growth)) -> Seen {
        let open = |flow: &&LiveFlow| flow.sock.established_ns != 0 && flow.tcp.state != state::CLOSE;
        let mut seen = HashSet::with_capacity(flows.len());
        for LiveFlow { sock, tcp, received } in flows.iter().filter(open) {
            seen.insert(key(sock));
            let growth = self.grow(sock, tcp, *received);
            if growth != Growth::default() {
                grown(sock, growth);
            }
        }
        Seen(seen)
    }

    /// Forgets the connections that a reading did not have and whose last words were lost: all others that
    /// ended before the reading have been heard of by now.
    pub fn prune(&mut self, Seen(seen): &Seen) {
        self.counted.retain(|key, _| seen.contains(key));
    }

    /// Takes the last word on a connection; returns what was not added yet.
    pub fn ended(&mut self, sock: &SockState, tcp: &TcpFigures, received: Moved) -> Growth {
        let known = self.counted.remove(&key(sock));
        Totals::now(sock, tcp, received).since(known)
    }

    fn grow(&mut self, sock: &SockState, tcp: &TcpFigures, received: Moved) -> Growth {
        let now = Totals::now(sock, tcp, received);
        let known = self.counted.get(&key(sock)).copied();
        // A reading may catch a connection while it ends, when part of its figures is gone already.
        self.counted.insert(key(sock), now.or(known.unwrap_or_default()));
        now.since(known)
    }
}

fn key(sock: &SockState) -> (u64, u64) {
    (sock.cookie, sock.opened_ns)
}

#[cfg(test)]
mod tests {
    use mesh_common::sock::flag;

    use super::*;

    fn flow(cookie: u64, acked: u64, state: u32) -> LiveFlow {
        let sock = SockState {
            cookie,
            flags: flag::PASSIVE,
            established_ns: 1,
            ..SockState::default()
        };
        LiveFlow {
            sock,
            tcp: TcpFigures {
                bytes_acked: acked,
                state,
                ..TcpFigures::default()
            },
            received: Moved::default(),
        }
    }

    #[test]
    fn a_connection_is_new_once() {
        let mut accounting = Accounting::default();
        let mut new = 0;
        for _ in 0..2 {
            let seen = accounting.live(&[flow(1, 0, state::ESTABLISHED)], |_, growth| {
                new += u32::from(growth.first);
            });
            accounting.prune(&seen);
        }
        assert_eq!(new, 1);
        let short = flow(2, 0, state::ESTABLISHED);
        assert!(accounting.ended(&short.sock, &short.tcp, short.received).first);
    }

    fn total(accounting: &mut Accounting, flows: &[LiveFlow]) -> u64 {
        let mut sum = 0;
        let seen = accounting.live(flows, |_, bytes| sum += bytes.sent);
        accounting.prune(&seen);
        sum
    }

    #[test]
    fn every_byte_is_added_once() {
        let mut accounting = Accounting::default();
        assert_eq!(total(&mut accounting, &[flow(1, 10, state::ESTABLISHED)]), 10);
        assert_eq!(total(&mut accounting, &[flow(1, 10, state::ESTABLISHED)]), 0);
        assert_eq!(
            total(
                &mut accounting,
                &[flow(1, 25, state::ESTABLISHED), flow(2, 5, state::ESTABLISHED)]
            ),
            20
        );
        let last = flow(1, 31, state::FIN_WAIT2);
        assert_eq!(
            accounting.ended(&last.sock, &last.tcp, last.received).sent,
            5,
            "30 bytes and a FIN"
        );
        assert!(!accounting.counted.contains_key(&(1, 0)));
    }

    #[test]
    fn a_socket_that_was_told_of_and_is_not_freed_yet_counts_no_more() {
        let mut accounting = Accounting::default();
        let last = flow(1, 10, state::ESTABLISHED);
        assert_eq!(accounting.ended(&last.sock, &last.tcp, last.received).sent, 10);
        assert_eq!(total(&mut accounting, &[flow(1, 10, state::CLOSE)]), 0);
    }

    #[test]
    fn a_connection_that_ended_before_a_reading_is_not_forgotten_before_its_last_word() {
        let mut accounting = Accounting::default();
        total(&mut accounting, &[flow(1, 10, state::ESTABLISHED)]);
        let seen = accounting.live(&[], |_, _| {});
        let last = flow(1, 15, state::ESTABLISHED);
        assert_eq!(accounting.ended(&last.sock, &last.tcp, last.received).sent, 5);
        accounting.prune(&seen);
    }

    #[test]
    fn a_lost_last_word_leaves_nothing_behind() {
        let mut accounting = Accounting::default();
        total(&mut accounting, &[flow(1, 10, state::ESTABLISHED)]);
        total(&mut accounting, &[]);
        assert!(accounting.counted.is_empty());
    }

    #[test]
    fn a_reading_that_lacks_what_was_known_counts_nothing_twice() {
        let mut accounting = Accounting::default();
        let mut sum = 0;
        for acked in [100, 40] {
            let _seen = accounting.live(&[flow(1, acked, state::ESTABLISHED)], |_, growth| {
                sum += growth.sent;
            });
        }
        let last = flow(1, 120, state::ESTABLISHED);
        sum += accounting.ended(&last.sock, &last.tcp, last.received).sent;
        assert_eq!(sum, 120);
    }
}

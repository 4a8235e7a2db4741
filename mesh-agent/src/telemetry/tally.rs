//! What connections did, summed by who talked to whom: names are looked up once for all of them, not for each.

use std::collections::HashMap;

use mesh_common::{
    accel::Moved,
    sock::{SockState, flag},
};

use super::accounting::Growth;

/// Who talked to whom, as the kernel has it: everything that the labels of a TCP series are made of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Parties {
    /// Whether [`Self::pod`] accepted.
    pub accepted: bool,
    /// Workload id of the pod whose socket it was.
    pub pod: u32,
    /// Workload id of the other end.
    pub peer: u32,
    /// Service id.
    pub service: u32,
}

impl Parties {
    fn of(sock: &SockState) -> Self {
        Self {
            accepted: sock.flags & flag::PASSIVE != 0,
            pod: sock.pod,
            peer: sock.peer,
            service: sock.service,
        }
    }
}

/// What they did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Deeds {
    /// Connections heard of for the first time.
    pub opened: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Connections that were asked for and never established.
    pub failed: u64,
    /// Bytes that [`Parties::pod`] sent.
    pub sent: u64,
    /// Bytes it received.
    pub received: u64,
    /// What of it was sent past TCP.
    pub redirected_sent: Moved,
    /// What of it came past TCP.
    pub redirected_received: Moved,
}

/// The sums.
#[derive(Debug, Default)]
pub struct Tally(HashMap<Parties, Deeds>);

impl Tally {
    /// Adds what a connection grew by.
    pub fn grown(&mut self, sock: &SockState, growth: Growth) {
        let deeds = self.of(sock);
        deeds.opened += u64::from(growth.first);
        deeds.sent = deeds.sent.saturating_add(growth.sent);
        deeds.received = deeds.received.saturating_add(growth.received);
        deeds.redirected_sent = deeds.redirected_sent.plus(growth.redirected_sent);
        deeds.redirected_received = deeds.redirected_received.plus(growth.redirected_received);
    }

    /// Adds what a connection grew by when it ended.
    pub fn closed(&mut self, sock: &SockState, growth: Growth) {
        self.grown(sock, growth);
        self.of(sock).closed += 1;
    }

    /// Adds a connection that was asked for and never established.
    pub fn failed(&mut self, sock: &SockState) {
        self.of(sock).failed += 1;
    }

    fn of(&mut self, sock: &SockState) -> &mut Deeds {
        self.0.entry(Parties::of(sock)).or_default()
    }
}

impl IntoIterator for Tally {
    type Item = (Parties, Deeds);
    type IntoIter = std::collections::hash_map::IntoIter<Parties, Deeds>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_parties_are_summed() {
        let one = SockState {
            pod: 1,
            peer: 2,
            service: 3,
            ..SockState::default()
        };
        let accepted = SockState {
            flags: flag::PASSIVE,
            ..one
        };
        let growth = Growth {
            first: true,
            sent: 5,
            ..Growth::default()
        };
        let mut tally = Tally::default();
        tally.grown(&one, growth);
        tally.closed(
            &one,
            Growth {
                first: false,
                ..growth
            },
        );
        tally.closed(&accepted, growth);
        tally.failed(&SockState { service: 4, ..one });
        let mut sums: Vec<_> = tally.into_iter().collect();
        sums.sort_by_key(|(parties, _)| (parties.service, parties.accepted));
        let sums: Vec<_> = sums
            .iter()
            .map(|(_, deeds)| [deeds.opened, deeds.closed, deeds.failed, deeds.sent])
            .collect();
        assert_eq!(sums, [[1, 1, 0, 10], [1, 1, 0, 5], [0, 0, 1, 0]]);
    }
}

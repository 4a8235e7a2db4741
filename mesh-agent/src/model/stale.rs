//! Entries of the table of enrolled sockets whose socket is gone, which nobody told the programs: they were not
//! attached when it closed, or did not belong to the mesh any more.

use std::collections::{HashMap, HashSet};

use mesh_common::accel::{SocketKey, Splice};

/// An entry, and whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Where it stands.
    pub key: SocketKey,
    /// Cookie of its socket.
    pub cookie: u64,
}

/// The entries whose socket was not found, at the last look.
#[derive(Debug, Default)]
pub struct Suspects(HashMap<u64, SocketKey>);

impl Suspects {
    /// Looks: takes the entries, and the cookies of the sockets that were there after the entries were read. Gives what
    /// has to go: entries without a socket at this look and the one before, unchanged in between.
    ///
    /// An entry that is younger than its list of sockets is no suspect, since the entries are read first. A list
    /// may miss a socket while others go; two lists that miss the same one are two accidents.
    pub fn look(&mut self, entries: &[(SocketKey, Splice)], live: &HashSet<u64>) -> Vec<Entry> {
        let now: HashMap<u64, SocketKey> = entries
            .iter()
            .filter(|(_, splice)| !live.contains(&splice.cookie))
            .map(|(key, splice)| (splice.cookie, *key))
            .collect();
        let before = std::mem::replace(&mut self.0, now);
        let twice = before
            .into_iter()
            .filter(|(cookie, key)| self.0.get(cookie) == Some(key));
        twice.map(|(cookie, key)| Entry { key, cookie }).collect()
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::addr::Port;

    use super::*;

    fn key(port: u16) -> SocketKey {
        SocketKey {
            local_port: Port::new(port),
            ..SocketKey::default()
        }
    }

    fn entry(port: u16, cookie: u64) -> (SocketKey, Splice) {
        let splice = Splice {
            cookie,
            ..Splice::default()
        };
        (key(port), splice)
    }

    #[test]
    fn what_two_looks_miss_has_to_go() {
        let mut suspects = Suspects::default();
        let entries = [entry(1, 11), entry(2, 12), entry(3, 13)];
        let live = HashSet::from([12]);
        assert_eq!(suspects.look(&entries, &live), []);
        // 13 was missed by accident.
        let gone = suspects.look(&entries, &HashSet::from([12, 13]));
        let first = Entry {
            key: key(1),
            cookie: 11,
        };
        assert_eq!(gone, [first]);
        // What could not be removed is a suspect still.
        assert_eq!(suspects.look(&entries, &HashSet::from([12, 13])), [first]);
    }

    #[test]
    fn the_entry_of_a_new_socket_with_the_same_ends_stays() {
        let mut suspects = Suspects::default();
        let none = HashSet::new();
        assert_eq!(suspects.look(&[entry(1, 11)], &none), []);
        assert_eq!(suspects.look(&[entry(1, 21)], &none), []);
        assert_eq!(suspects.look(&[], &none), []);
        assert_eq!(suspects.look(&[entry(1, 21)], &none), [], "not twice in a row");
    }
}

//! May a flow pass, as far as the rules of one of its ends go?

use crate::addr::Port;
use crate::policy::{ALLOW, ANYBODY, LENGTHS, OPEN, PolicyKey};
use crate::rules::NOTHING;
use crate::tag::Tagged;

/// What the rules of one end say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// No policy selects this end in this direction.
    Open,
    /// A rule lets it pass.
    Allowed {
        /// Number of the rule.
        rule: u32,
    },
    /// Policies select this end, and no rule of theirs lets it pass.
    Denied,
}

/// The question for one end.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Number of the rule set of the pod at this end, in the direction in question.
    pub set: u32,
    /// Class of the other end.
    pub peer: u32,
    /// IANA number of the protocol.
    pub protocol: u8,
    /// Destination port; 0 where the protocol has none.
    pub port: Port,
}

/// Judges. `lookup` reads the table and has checked that the value belongs to the key. It is called at most
/// [`crate::policy::PROBES`] times, however many rules there are, and not at all for [`OPEN`] and [`NOTHING`].
///
/// A class that the set lists has its own entries and everybody's; others have everybody's. The first entry found
/// decides, so that one with a longer prefix goes before one with a shorter.
#[inline(always)]
pub fn judge(question: Question, mut lookup: impl FnMut(&PolicyKey) -> Option<Tagged>) -> Verdict {
    let Question {
        set,
        peer,
        protocol,
        port,
    } = question;
    if set == OPEN {
        return Verdict::Open;
    }
    if set == NOTHING {
        return Verdict::Denied;
    }
    let listing = if peer == ANYBODY {
        None
    } else {
        lookup(&PolicyKey::listing(set, peer))
    };
    let (peer, lengths) = listing.map_or((ANYBODY, u8::MAX), |listing| (peer, listing.flags()));
    for (bit, length) in LENGTHS.into_iter().enumerate() {
        if lengths & 1 << bit == 0 {
            continue;
        }
        let entry = lookup(&PolicyKey::new(set, peer, protocol, port, length));
        match entry {
            Some(entry) if entry.flags() & ALLOW != 0 => return Verdict::Allowed { rule: entry.id() },
            Some(_) => return Verdict::Denied,
            None => {}
        }
    }
    Verdict::Denied
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashMap;
    use std::vec::Vec;

    use super::*;
    use crate::policy::PROBES;

    /// Asks about TCP, and counts the look-ups.
    fn ask(table: &[(PolicyKey, Tagged)], set: u32, peer: u32, port: u16) -> (Verdict, Vec<PolicyKey>) {
        let table: HashMap<PolicyKey, Tagged> = table.iter().copied().collect();
        let mut probes = Vec::new();
        let question = Question {
            set,
            peer,
            protocol: 6,
            port: Port::new(port),
        };
        let verdict = judge(question, |key| {
            probes.push(*key);
            table.get(key).copied()
        });
        (verdict, probes)
    }

    fn allow(peer: u32, port: u16, length: u8, rule: u32) -> (PolicyKey, Tagged) {
        let key = PolicyKey::new(1, peer, 6, Port::new(port), length);
        (key, key.allowing(rule))
    }

    fn list(peer: u32, lengths: u8) -> (PolicyKey, Tagged) {
        let key = PolicyKey::listing(1, peer);
        (key, key.of_lengths(lengths))
    }

    #[test]
    fn where_no_policy_selects_nothing_is_looked_up() {
        assert_eq!(
            ask(&[allow(0, 80, 16, 7)], OPEN, 3, 80),
            (Verdict::Open, Vec::new())
        );
    }

    #[test]
    fn what_found_no_room_denies_without_a_look_up() {
        let key = PolicyKey::new(NOTHING, 0, 6, Port::new(0), 0);
        let table = [(key, key.allowing(7))];
        assert_eq!(ask(&table, NOTHING, 3, 80), (Verdict::Denied, Vec::new()));
    }

    #[test]
    fn an_empty_set_denies_after_every_probe() {
        let (verdict, probes) = ask(&[], 1, 3, 80);
        assert_eq!((verdict, probes.len()), (Verdict::Denied, PROBES));
    }

    #[test]
    fn a_class_that_is_not_listed_is_anybody() {
        let table = [allow(0, 80, 16, 7), allow(3, 81, 16, 8)];
        assert_eq!(ask(&table, 1, 3, 80).0, Verdict::Allowed { rule: 7 });
        assert_eq!(ask(&table, 1, 3, 81).0, Verdict::Denied);
    }

    #[test]
    fn a_class_that_is_listed_has_its_own_entries_only() {
        let table = [list(3, 0b00001), allow(0, 80, 16, 7), allow(3, 81, 16, 8)];
        assert_eq!(ask(&table, 1, 3, 81).0, Verdict::Allowed { rule: 8 });
        let (verdict, probes) = ask(&table, 1, 3, 80);
        assert_eq!((verdict, probes.len()), (Verdict::Denied, 2));
    }

    #[test]
    fn the_longest_prefix_decides() {
        let table = [list(3, 0b10001), allow(3, 0, 0, 7), allow(3, 80, 16, 8)];
        assert_eq!(ask(&table, 1, 3, 80).0, Verdict::Allowed { rule: 8 });
        assert_eq!(ask(&table, 1, 3, 81).0, Verdict::Allowed { rule: 7 });
    }

    #[test]
    fn an_entry_that_does_not_allow_denies() {
        let key = PolicyKey::new(1, 0, 6, Port::new(80), 16);
        let table = [(key, key.of_lengths(0)), allow(0, 0, 0, 7)];
        assert_eq!(ask(&table, 1, 3, 80).0, Verdict::Denied);
        assert_eq!(ask(&table, 1, 3, 81).0, Verdict::Allowed { rule: 7 });
    }
}

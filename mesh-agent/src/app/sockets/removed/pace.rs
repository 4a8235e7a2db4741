//! When to look for connections that cannot go on: soon after a change, once more for those that were on their way then,
//! and a last time when nobody can be on the way any more who knew the tables from before it.

use std::time::{Duration, Instant};

use crate::model::ledger::REST;

/// By then, most of what was on its way is there.
const SECOND: Duration = Duration::from_secs(1);
/// Looks may take this part of the time, no more,
const SHARE: u32 = 20;
/// as long as they don't come more often than this
const SHORTEST: Duration = Duration::from_millis(100);
/// or more rarely than this.
const LONGEST: Duration = Duration::from_secs(5);

/// The time of the next look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    wanted: bool,
    again: Option<Instant>,
    settled: Option<Instant>,
    began: Instant,
    not_before: Instant,
}

impl Pace {
    /// There is nothing to look for yet.
    pub const fn new(now: Instant) -> Self {
        Self {
            wanted: false,
            again: None,
            settled: None,
            began: now,
            not_before: now,
        }
    }

    /// Something changed.
    pub fn changed(&mut self, now: Instant) {
        self.wanted = true;
        self.again = Some(now + SECOND);
        self.settled = Some(now + REST);
    }

    /// What was to be done could not be done: try again later.
    pub fn failed(&mut self, now: Instant) {
        self.settled.get_or_insert(now + REST);
    }

    /// A look begins.
    pub fn begins(&mut self, now: Instant) {
        self.began = now;
        self.wanted = false;
        self.again = self.again.filter(|&again| again > now);
        self.settled = self.settled.filter(|&settled| settled > now);
    }

    /// All is done that the look led to.
    pub fn ended(&mut self, now: Instant) {
        self.not_before = now + ((now - self.began) * SHARE).clamp(SHORTEST, LONGEST);
    }

    /// When to look next, if at all.
    pub fn due(&self) -> Option<Instant> {
        let due = if self.wanted {
            Some(self.began)
        } else {
            self.again.or(self.settled)
        };
        due.map(|due| due.max(self.not_before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_change_is_looked_at_soon_and_once_more_when_all_has_settled() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.due(), None);
        pace.changed(start);
        assert_eq!(pace.due(), Some(start));
        pace.begins(start);
        pace.ended(start + MS);
        assert_eq!(pace.due(), Some(start + SECOND));
        pace.begins(start + SECOND);
        pace.ended(start + SECOND + MS);
        assert_eq!(pace.due(), Some(start + REST));
        pace.begins(start + REST);
        pace.ended(start + REST + MS);
        assert_eq!(pace.due(), None);
        pace.failed(start + REST + MS);
        assert_eq!(pace.due(), Some(start + 2 * REST + MS));
    }

    #[test]
    fn many_changes_are_one_look() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for (cost, pause) in [
            (MS, SHORTEST),
            (10 * MS, 200 * MS),
            (Duration::from_mins(1), LONGEST),
        ] {
            pace.changed(start);
            pace.begins(start);
            for later in 1..1_000 {
                pace.changed(start + later * MS / 1_000);
            }
            pace.ended(start + cost);
            assert_eq!(pace.due(), Some(start + cost + pause));
        }
    }
}

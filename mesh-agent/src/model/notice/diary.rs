//! What was said already, and what is to be said next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Notice, Notices};

/// What goes on is said again this often: API servers forget Events after an hour (`--event-ttl`).
pub const REFRESH: Duration = Duration::from_mins(30);
/// What could not be said is tried again after this, and what is said of the same thing changes no faster.
const GAP: Duration = Duration::from_mins(1);

/// What is to be said, and what was.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    wanted: Notices,
    entries: BTreeMap<Notice, Entry>,
}

/// What was said last of something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The words; none where they did not come through.
    pub note: Option<String>,
    /// How often they were said, where that is known.
    pub count: Option<i32>,
    /// When it was.
    pub at: Instant,
}

impl Diary {
    /// These things are to be said from now on. What is no longer the case is remembered for a while: a state that
    /// comes and goes is no news each time.
    pub fn want(&mut self, wanted: Notices, now: Instant) {
        self.wanted = wanted;
        let wanted = &self.wanted;
        self.entries
            .retain(|notice, entry| wanted.contains_key(notice) || now < entry.at + REFRESH);
    }

    /// What comes next, when, and how often it was said before in the same words, where that is known.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<(Instant, &Notice, &str, Option<i32>)> {
        let all = self.wanted.iter().map(|(notice, note)| {
            let entry = self.entries.get(notice);
            let same = entry.filter(|entry| entry.note.as_ref() == Some(note));
            let due = match (same, entry) {
                (Some(same), _) => same.at + REFRESH,
                (None, Some(other)) => other.at + GAP,
                (None, None) => now,
            };
            (due, notice, note.as_str(), same.and_then(|entry| entry.count))
        });
        all.min_by_key(|(due, notice, ..)| (*due, *notice))
    }

    /// Notes what came of it.
    pub fn tried(&mut self, notice: Notice, entry: Entry) {
        self.entries.insert(notice, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::desired::{ObjectName, PodKey};
    use crate::model::notice::Reason;

    fn notice(name: &str) -> Notice {
        Notice {
            pod: PodKey {
                object: ObjectName::new("shop", name),
                uid: "u".into(),
            },
            reason: Reason::OtherMesh,
        }
    }

    fn wanted(all: &[(&str, &str)]) -> Notices {
        let all = all.iter();
        all.map(|(name, note)| (notice(name), (*note).to_owned()))
            .collect()
    }

    /// Says what comes next, `after` the beginning; whose it is, when it was due, and how often it was said.
    fn next(diary: &Diary, start: Instant, after: Duration) -> Option<(String, Duration, Option<i32>)> {
        let (due, notice, _, count) = diary.next(start + after)?;
        Some((notice.pod.object.name.to_string(), due - start, count))
    }

    fn said(note: &str, count: Option<i32>, at: Instant) -> Entry {
        Entry {
            note: Some(note.to_owned()),
            count,
            at,
        }
    }

    #[test]
    fn a_state_is_told_once_and_again_before_it_is_forgotten() {
        let (mut diary, start) = (Diary::default(), Instant::now());
        assert_eq!(next(&diary, start, Duration::ZERO), None);
        diary.want(wanted(&[("a", "x"), ("b", "x")]), start);
        assert_eq!(next(&diary, start, GAP), Some(("a".to_owned(), GAP, None)));
        diary.tried(notice("a"), said("x", Some(1), start));
        assert_eq!(next(&diary, start, GAP), Some(("b".to_owned(), GAP, None)));
        diary.tried(notice("b"), said("x", Some(3), start + GAP));
        assert_eq!(next(&diary, start, GAP), Some(("a".to_owned(), REFRESH, Some(1))));
        // Wanting the same again changes nothing.
        diary.want(wanted(&[("a", "x"), ("b", "x")]), start + GAP);
        assert_eq!(next(&diary, start, GAP), Some(("a".to_owned(), REFRESH, Some(1))));
    }

    #[test]
    fn a_state_that_comes_and_goes_is_told_at_its_pace() {
        let (mut diary, start) = (Diary::default(), Instant::now());
        diary.tried(notice("a"), said("x", Some(1), start));
        diary.want(wanted(&[]), start + GAP);
        assert_eq!(next(&diary, start, GAP), None);
        diary.want(wanted(&[("a", "x")]), start + GAP);
        assert_eq!(next(&diary, start, GAP), Some(("a".to_owned(), REFRESH, Some(1))));
        // Other words are another Event, but not at once.
        diary.want(wanted(&[("a", "y")]), start);
        assert_eq!(
            next(&diary, start, Duration::ZERO),
            Some(("a".to_owned(), GAP, None))
        );
        // What was long ago is news.
        diary.want(wanted(&[]), start + REFRESH);
        diary.want(wanted(&[("a", "x")]), start + REFRESH);
        assert_eq!(
            next(&diary, start, REFRESH),
            Some(("a".to_owned(), REFRESH, None))
        );
    }

    #[test]
    fn what_did_not_come_through_holds_nothing_up() {
        let (mut diary, start) = (Diary::default(), Instant::now());
        diary.want(wanted(&[("a", "x"), ("b", "x")]), start);
        let failed = Entry {
            note: None,
            count: None,
            at: start,
        };
        diary.tried(notice("a"), failed);
        assert_eq!(
            next(&diary, start, Duration::ZERO),
            Some(("b".to_owned(), Duration::ZERO, None))
        );
        diary.tried(notice("b"), said("x", Some(1), start));
        assert_eq!(
            next(&diary, start, Duration::ZERO),
            Some(("a".to_owned(), GAP, None))
        );
    }
}

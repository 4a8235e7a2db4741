//! What goes wrong, on demand.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

/// Which requests a fault meets. `None` stands for any.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// `list`, `watch`, `get`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: Option<String>,
    /// Plural.
    pub resource: Option<String>,
}

impl Match {
    /// Any request for objects.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Those of a verb for a resource.
    #[must_use]
    pub fn of(verb: &str, resource: &str) -> Self {
        Self {
            verb: Some(verb.into()),
            resource: Some(resource.into()),
        }
    }

    /// Those of a verb.
    #[must_use]
    pub fn verb(verb: &str) -> Self {
        Self {
            verb: Some(verb.into()),
            resource: None,
        }
    }

    /// Whether a request is met.
    #[must_use]
    pub fn meets(&self, verb: &str, resource: &str) -> bool {
        let fits = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|text| text == has);
        fits(&self.verb, verb) && fits(&self.resource, resource)
    }
}

/// How a watch is told that its version is too old.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Gone {
    /// As the status of the answer, which the real server doesn't do.
    Status,
    /// As an event of type `ERROR`, as the real server does; open watches get it as well.
    Event,
}

/// An answer instead of the right one.
#[derive(Clone, Debug)]
struct Refusal {
    whom: Match,
    code: u16,
    retry_after: Option<u64>,
    left: Option<usize>,
}

/// Everything that goes wrong now.
#[derive(Debug, Default)]
pub struct Faults {
    refusals: Vec<Refusal>,
    delays: Vec<(Match, Duration)>,
    /// What watches are told.
    pub gone: Option<Gone>,
    /// Whether watches get each event twice.
    pub duplicates: bool,
    /// Resources whose watches are told nothing for now.
    pub held: BTreeSet<String>,
    /// How often watches were told to break off in the middle of an event.
    pub torn: u64,
    /// Version the watch cache stands at.
    pub cached: Option<u64>,
    /// Whether nothing newer is told from there either.
    pub lagging: bool,
}

impl Faults {
    /// Answers these requests with a code, as often as said.
    pub fn refuse(&mut self, whom: Match, code: u16, retry_after: Option<u64>, times: Option<usize>) {
        self.refusals.push(Refusal {
            whom,
            code,
            retry_after,
            left: times,
        });
    }

    /// Answers these requests late.
    pub fn delay(&mut self, whom: Match, by: Duration) {
        self.delays.push((whom, by));
    }

    /// How late this one is answered.
    #[must_use]
    pub fn delay_of(&self, verb: &str, resource: &str) -> Duration {
        let met = self.delays.iter().filter(|(whom, _)| whom.meets(verb, resource));
        met.map(|(_, by)| *by).sum()
    }

    /// The code this one is answered with, and seconds to wait. Counts.
    pub fn refusal_of(&mut self, verb: &str, resource: &str) -> Option<(u16, Option<u64>)> {
        let refusal = self
            .refusals
            .iter_mut()
            .find(|refusal| refusal.left != Some(0) && refusal.whom.meets(verb, resource))?;
        if let Some(left) = &mut refusal.left {
            *left -= 1;
        }
        Some((refusal.code, refusal.retry_after))
    }

    /// All is well again.
    pub fn clear(&mut self) {
        *self = Self {
            torn: self.torn,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_and_the_first_that_fits_answers() {
        let mut faults = Faults::default();
        faults.refuse(Match::of("list", "pods"), 429, Some(1), Some(2));
        faults.refuse(Match::verb("list"), 500, None, None);
        let codes: Vec<_> = (0..3)
            .map(|_| faults.refusal_of("list", "pods").map(|(code, _)| code))
            .collect();
        assert_eq!(codes, [Some(429), Some(429), Some(500)]);
        assert_eq!(faults.refusal_of("watch", "pods"), None);
        faults.delay(Match::any(), Duration::from_secs(1));
        faults.delay(Match::verb("get"), Duration::from_secs(2));
        assert_eq!(faults.delay_of("get", "nodes").as_secs(), 3);
        faults.clear();
        assert_eq!(faults.refusal_of("list", "pods"), None);
    }
}

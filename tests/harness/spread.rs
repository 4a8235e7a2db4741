//! Who answered how often.

use std::collections::BTreeMap;
use std::fmt;

/// How many standard deviations a share may be off: once in two million tests by chance.
const SIGMAS: f64 = 5.0;

/// Answers, counted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread(BTreeMap<String, u32>);

impl Spread {
    /// Asks `count` times, and stops at the first error.
    pub fn ask<E>(count: u32, mut ask: impl FnMut() -> Result<String, E>) -> Result<Self, E> {
        (0..count).map(|_| ask()).collect()
    }

    /// One more answer.
    pub fn add(&mut self, name: impl Into<String>) {
        *self.0.entry(name.into()).or_default() += 1;
    }

    /// How often this one answered.
    #[must_use]
    pub fn count(&self, name: &str) -> u32 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All answers.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.values().sum()
    }

    /// Who answered at all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// # Panics
    ///
    /// Unless exactly these answered, all about equally often.
    #[track_caller]
    pub fn assert_even(&self, names: &[&str]) {
        let share = 1.0 / f64::from(u32::try_from(names.len()).unwrap_or(u32::MAX));
        let shares: Vec<_> = names.iter().map(|name| (*name, share)).collect();
        self.assert_shares(&shares);
    }

    /// # Panics
    ///
    /// Unless exactly these answered, each about as often as its share (of 1) says.
    #[track_caller]
    pub fn assert_shares(&self, shares: &[(&str, f64)]) {
        let mut expected: Vec<_> = shares.iter().map(|(name, _)| *name).collect();
        expected.sort_unstable();
        assert!(
            self.names().eq(expected.iter().copied()),
            "answers of {expected:?} expected, got {self}"
        );
        let total = f64::from(self.total());
        for (name, share) in shares {
            let (mean, deviation) = (total * share, (total * share * (1.0 - share)).sqrt());
            let off = (f64::from(self.count(name)) - mean).abs();
            assert!(
                off <= SIGMAS * deviation + 1.0,
                "{name}: about {mean:.0} answers expected, got {self}"
            );
        }
    }
}

impl<S: Into<String>> FromIterator<S> for Spread {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut spread = Self::default();
        names.into_iter().for_each(|name| spread.add(name));
        spread
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    fn spread(a: usize, b: usize) -> Spread {
        std::iter::repeat_n("a", a)
            .chain(std::iter::repeat_n("b", b))
            .collect()
    }

    #[test]
    fn even_enough() {
        spread(480, 520).assert_even(&["a", "b"]);
        spread(100, 900).assert_shares(&[("b", 0.9), ("a", 0.1)]);
    }

    #[test]
    #[should_panic(expected = "about 500")]
    fn uneven() {
        spread(400, 600).assert_even(&["a", "b"]);
    }

    #[test]
    #[should_panic(expected = "expected, got")]
    fn stranger() {
        spread(500, 500).assert_even(&["a"]);
    }
}

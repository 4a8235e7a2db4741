//! Medians with the interval that holds the true one in 95 of 100 runs, whatever the distribution.

use std::fmt;

use serde_json::{Value, json};

/// The least number of samples that such an interval can be told of.
pub const LEAST: usize = 6;

/// A median and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Lower end of the interval.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Of samples that do not depend on each other; `None` for fewer than [`LEAST`].
    pub fn of(samples: &[f64]) -> Option<Self> {
        let rank = rank(samples.len())?;
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len() - 1;
        Some(Self {
            low: sorted[rank],
            median: f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]),
            high: sorted[last - rank],
        })
    }

    /// Of the ratios of what was measured in the same round.
    pub fn of_ratios(of: &[f64], to: &[f64]) -> Option<Self> {
        let ratios: Vec<_> = of.iter().zip(to).map(|(of, to)| of / to).collect();
        Self::of(&ratios)
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({"median": self.median, "low": self.low, "high": self.high})
    }
}

/// With as many digits as the precision says, two unless told.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { low, median, high } = self;
        write!(f, "{median:.digits$} [{low:.digits$}, {high:.digits$}]")
    }
}

/// How many of the sorted samples to leave out at each end: the true median lies beyond the `k`-th as often as a
/// coin shows its head fewer than `k` times in `samples` throws, and the two ends share 5 %.
fn rank(samples: usize) -> Option<usize> {
    let throws = f64::from(u32::try_from(samples).ok()?);
    // The probability of exactly `heads` heads, from one to the next.
    let mut exactly = 0.5_f64.powf(throws);
    let (mut fewer, mut heads) = (0.0, 0.0);
    let mut rank = None;
    while fewer + exactly <= 0.025 {
        rank = Some(rank.map_or(0, |rank: usize| rank + 1));
        fewer += exactly;
        exactly *= (throws - heads) / (heads + 1.0);
        heads += 1.0;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_tables() {
        // Number of samples, and which order statistics bound the median with 95 % (counted from 1).
        for (samples, from_one) in [
            (6, 1),
            (8, 1),
            (9, 2),
            (15, 4),
            (20, 6),
            (25, 8),
            (30, 10),
            (50, 18),
        ] {
            assert_eq!(rank(samples), Some(from_one - 1), "{samples}");
        }
        assert_eq!(rank(LEAST - 1), None);
        assert_eq!(rank(0), None);
    }

    #[test]
    fn an_estimate_is_made_of_order_statistics() {
        let samples: Vec<_> = (1..=15).rev().map(f64::from).collect();
        let estimate = Estimate::of(&samples).unwrap();
        assert_eq!((estimate.low, estimate.median, estimate.high), (4.0, 8.0, 12.0));
        assert_eq!(estimate.to_string(), "8.00 [4.00, 12.00]");
        let even = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0, 60.0]).unwrap();
        assert_eq!((even.low, even.median, even.high), (1.0, 3.5, 60.0));
    }

    #[test]
    fn drift_that_both_sides_see_cancels() {
        let to: Vec<_> = (1..=15).map(f64::from).collect();
        let of: Vec<_> = to.iter().map(|it| it * 0.5).collect();
        let ratio = Estimate::of_ratios(&of, &to).unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.5, 0.5, 0.5));
    }
}

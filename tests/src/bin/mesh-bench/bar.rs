//! Bars that a figure has to reach, and whether it did.

use std::fmt;

use serde_json::{Value, json};

use crate::statistics::Estimate;

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// Not less than this.
    AtLeast(f64),
    /// Less than this.
    Below(f64),
}

/// How a figure stands to its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The median is on the right side.
    Reached,
    /// The median is on the wrong side, but the interval is not: this run can't tell.
    Open,
    /// The whole interval is on the wrong side.
    Missed,
}

impl Bar {
    /// Judges a figure.
    pub fn judge(self, figure: &Estimate) -> Outcome {
        let (reached, could) = match self {
            Self::AtLeast(bar) => (figure.median >= bar, figure.high >= bar),
            Self::Below(bar) => (figure.median < bar, figure.low < bar),
        };
        match (reached, could) {
            (true, _) => Outcome::Reached,
            (false, true) => Outcome::Open,
            (false, false) => Outcome::Missed,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bar) => write!(f, "at least {bar}"),
            Self::Below(bar) => write!(f, "below {bar}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reached => "reached",
            Self::Open => "open",
            Self::Missed => "MISSED",
        })
    }
}

/// A figure before its bar.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was measured, with its unit.
    pub what: String,
    /// What is asked.
    pub bar: Bar,
    /// What it is.
    pub figure: Estimate,
}

impl Verdict {
    /// How it stands.
    pub fn outcome(&self) -> Outcome {
        self.bar.judge(&self.figure)
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "bar": self.bar.to_string(),
            "figure": self.figure.json(),
            "outcome": self.outcome().to_string().to_lowercase(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(low: f64, median: f64, high: f64) -> Estimate {
        Estimate { low, median, high }
    }

    #[test]
    fn a_bar_is_missed_when_the_whole_interval_lies_beyond() {
        let least = Bar::AtLeast(0.98);
        assert_eq!(least.judge(&figure(0.9, 0.98, 1.1)), Outcome::Reached);
        assert_eq!(least.judge(&figure(0.9, 0.97, 0.98)), Outcome::Open);
        assert_eq!(least.judge(&figure(0.9, 0.95, 0.979)), Outcome::Missed);
        let most = Bar::Below(20.0);
        assert_eq!(most.judge(&figure(18.0, 19.0, 30.0)), Outcome::Reached);
        assert_eq!(most.judge(&figure(19.0, 21.0, 30.0)), Outcome::Open);
        assert_eq!(most.judge(&figure(20.0, 21.0, 30.0)), Outcome::Missed);
    }
}

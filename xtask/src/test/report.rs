//! The end of a run: what was skipped, what failed, and the totals on a line of their own.

use std::fmt;

use super::skip::Skip;
use super::tally::Tally;

/// What is left to say.
#[derive(Debug, Default)]
pub struct Report {
    /// The checks and steps that failed.
    pub failed: Vec<&'static str>,
    /// The checks and steps that did not happen.
    pub skips: Vec<Skip>,
    /// The sum over all tests; nothing when only lints ran.
    pub tally: Option<Tally>,
}

impl Report {
    /// Nothing failed, and tests that were to run did.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty()
            && self
                .tally
                .as_ref()
                .is_none_or(|tally| tally.failed == 0 && tally.executed() > 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_tests = self.tally.iter().flat_map(|tally| &tally.skips);
        for skip in of_tests.chain(&self.skips) {
            writeln!(f, "{skip}")?;
        }
        for failed in &self.failed {
            writeln!(f, "FAILED {failed}")?;
        }
        let Some(tally) = &self.tally else { return Ok(()) };
        if tally.executed() == 0 {
            writeln!(f, "FAILED no test was executed")?;
        }
        writeln!(
            f,
            "{} passed, {} failed, {} skipped",
            tally.passed,
            tally.failed,
            tally.skipped + self.skips.len() as u64
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_come_last() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 3 passed; 0 failed; 0 ignored");
        tally.skip(Skip::new("kernel", "no root"));
        let mut report = Report {
            tally: Some(tally),
            ..Report::default()
        };
        assert!(report.is_good());
        assert_eq!(
            report.to_string(),
            "SKIP kernel: no root\n3 passed, 0 failed, 1 skipped\n"
        );
        report.failed.push("clippy");
        report.skips.push(Skip::new("arm64", "no library"));
        assert!(!report.is_good());
        assert_eq!(
            report.to_string(),
            "SKIP kernel: no root\nSKIP arm64: no library\nFAILED clippy\n3 passed, 0 failed, 2 skipped\n"
        );
    }

    #[test]
    fn running_no_test_at_all_is_a_failure() {
        let report = Report {
            tally: Some(Tally::default()),
            ..Report::default()
        };
        assert!(!report.is_good());
        assert_eq!(
            report.to_string(),
            "FAILED no test was executed\n0 passed, 0 failed, 0 skipped\n"
        );
    }

    #[test]
    fn lints_alone_have_no_totals() {
        assert!(Report::default().is_good());
        assert_eq!(Report::default().to_string(), "");
    }
}

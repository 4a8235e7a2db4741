//! Adding up what the test binaries print.

use std::collections::BTreeMap;

use super::skip::Skip;

/// The sum over all test binaries.
#[derive(Debug, Default)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Checks that did not happen.
    pub skipped: u64,
    /// Them, by name.
    pub skips: Vec<Skip>,
    passed_names: BTreeMap<String, u64>,
}

impl Tally {
    /// Reads a line of output; most mean nothing here.
    pub fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.skipped += count(counts, "ignored");
        } else if let Some((name, outcome)) = test_line(line) {
            if outcome == "ok" {
                *self.passed_names.entry(name.to_owned()).or_default() += 1;
            } else if let Some(reason) = outcome.strip_prefix("ignored") {
                let reason = reason.trim_start_matches([',', ' ']);
                self.skips.push(Skip::new(
                    name,
                    if reason.is_empty() { "ignored" } else { reason },
                ));
            }
        }
    }

    /// Takes a skip that a test reported. A test that reports itself did not pass.
    pub fn skip(&mut self, skip: Skip) {
        if let Some(passes @ 1..) = self.passed_names.get_mut(&skip.name) {
            *passes -= 1;
            self.passed = self.passed.saturating_sub(1);
        }
        self.skip_many(1, skip);
    }

    /// Takes one skip that stands for many.
    pub fn skip_many(&mut self, count: u64, skip: Skip) {
        self.skipped += count;
        self.skips.push(skip);
    }

    /// A binary that crashed or did not build printed no result.
    pub fn at_least_one_failed(&mut self) {
        self.failed = self.failed.max(1);
    }

    /// Tests that ran to a verdict.
    pub fn executed(&self) -> u64 {
        self.passed + self.failed
    }
}

/// How many tests `--list --format terse` lists.
pub fn count_listed(listing: &str) -> u64 {
    listing
        .lines()
        .filter(|line| line.ends_with(": test"))
        .map(|_| 1)
        .sum()
}

/// The number before `what` in `ok. 3 passed; 0 failed; …`.
fn count(counts: &str, what: &str) -> u64 {
    counts
        .split(['.', ';'])
        .filter_map(|part| part.trim().split_once(' '))
        .filter(|(_, unit)| *unit == what)
        .filter_map(|(number, _)| number.parse::<u64>().ok())
        .sum()
}

/// Name and outcome of `test name ... outcome`.
fn test_line(line: &str) -> Option<(&str, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.trim_end_matches(" - should panic"), outcome.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally
    }

    const OUTPUT: &str = "\
running 3 tests
test addr::tests::mapped ... ok
test panics - should panic ... ok
test slow ... ignored, takes minutes
test gone ... ignored
test broken ... FAILED
test result: FAILED. 2 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.01s
   Doc-tests mesh_common
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s";

    #[test]
    fn all_binaries_are_summed() {
        let tally = tally(OUTPUT);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (42, 1, 2));
        let skips: Vec<_> = tally.skips.iter().map(ToString::to_string).collect();
        assert_eq!(skips, ["SKIP slow: takes minutes", "SKIP gone: ignored"]);
    }

    #[test]
    fn a_test_that_reports_itself_skipped_did_not_pass() {
        let mut tally = tally(OUTPUT);
        tally.skip(Skip::new("panics", "no kernel"));
        tally.skip(Skip::new("addr::tests::mapped/ipv6", "no IPv6 here"));
        assert_eq!((tally.passed, tally.failed, tally.skipped), (41, 1, 4));
    }

    #[test]
    fn a_part_of_a_test_may_be_skipped_more_than_once() {
        let mut tally = tally(OUTPUT);
        tally.skip(Skip::new("panics", "no kernel"));
        tally.skip(Skip::new("panics", "no kernel either"));
        assert_eq!((tally.passed, tally.skipped), (41, 4));
    }

    #[test]
    fn other_output_counts_nothing() {
        let tally =
            tally("test result\ntests passed\ntest x has been running for over 60 seconds\n9 passed;");
        assert_eq!((tally.executed(), tally.skipped), (0, 0));
    }

    #[test]
    fn a_crash_without_result_is_a_failure() {
        let mut tally = tally("running 1 test\n");
        tally.at_least_one_failed();
        assert_eq!(tally.failed, 1);
    }

    #[test]
    fn listed_tests_are_counted() {
        assert_eq!(count_listed("a::b: test\nc: test\nd: bench\n\n"), 2);
    }
}

//! What of the built tests runs on another kernel.

use std::fmt;

use anyhow::{Result, bail};

use super::binaries::Binary;
use super::suite::{SUITES, Suite, Verdict};

/// What to run, and what not.
#[derive(Debug)]
pub struct Plan {
    /// The binaries with the tests to run.
    pub binaries: Vec<Binary>,
    /// Tests that this kernel cannot pass: name and reason.
    pub lacking: Vec<(String, &'static str)>,
    total: usize,
}

impl Plan {
    /// How many tests are to run.
    pub fn count(&self) -> u64 {
        self.binaries
            .iter()
            .flat_map(|binary| &binary.tests)
            .map(|_| 1)
            .sum()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} kernel tests; the others are for the running kernel alone",
            self.count(),
            self.total
        )
    }
}

/// What of `built` runs; with filters only tests whose name contains one of them.
pub fn plan(built: &[Binary], filters: &[String]) -> Result<Plan> {
    choose(SUITES, built, filters)
}

fn choose(suites: &[Suite], built: &[Binary], filters: &[String]) -> Result<Plan> {
    let mut plan = Plan {
        binaries: Vec::new(),
        lacking: Vec::new(),
        total: built.iter().map(|binary| binary.tests.len()).sum(),
    };
    let wanted =
        |test: &&String| filters.is_empty() || filters.iter().any(|filter| test.contains(filter.as_str()));
    for suite in suites {
        let binary = find(suite, built)?;
        let mut tests = Vec::new();
        for test in binary.tests.iter().filter(wanted) {
            match suite.verdict(test) {
                Verdict::Run => tests.push(test.clone()),
                Verdict::Lack(reason) => plan.lacking.push((test.clone(), reason)),
                Verdict::Leave => {}
            }
        }
        if !tests.is_empty() {
            let binary = binary.clone();
            plan.binaries.push(Binary { tests, ..binary });
        }
    }
    Ok(plan)
}

/// The binary of a suite, which has all that the list names.
fn find<'a>(suite: &Suite, built: &'a [Binary]) -> Result<&'a Binary> {
    let Some(binary) = built.iter().find(|binary| binary.name == suite.binary) else {
        bail!("kernel/suite.rs lists {}, which is not there", suite.binary);
    };
    let is_there = |name: &str| binary.tests.iter().any(|test| test == name);
    match suite.named().find(|name| !is_there(name)) {
        Some(gone) => bail!(
            "kernel/suite.rs lists {}::{gone}, which is not there",
            suite.binary
        ),
        None => Ok(binary),
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite::Tests::{All, Only};
    use super::*;

    const SOME: &[Suite] = &[
        Suite {
            binary: "all",
            tests: All,
            lacking: &[("new", "needs tcx")],
        },
        Suite {
            binary: "few",
            tests: Only(&["one"]),
            lacking: &[],
        },
    ];

    fn built(name: &str, tests: &[&str]) -> Binary {
        Binary {
            name: name.to_owned(),
            path: name.into(),
            tests: tests.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_is_named_runs_and_what_the_kernel_lacks_is_skipped() {
        let built = [
            built("all", &["old", "new"]),
            built("few", &["one", "two"]),
            built("other", &["three"]),
        ];
        let plan = choose(SOME, &built, &[]).unwrap();
        assert_eq!(plan.count(), 2);
        assert_eq!(plan.lacking, [("new".to_owned(), "needs tcx")]);
        let only_one = choose(SOME, &built, &["one".to_owned()]).unwrap();
        assert_eq!((only_one.count(), only_one.binaries.len()), (1, 1));
        assert!(only_one.lacking.is_empty());
    }

    #[test]
    fn the_list_names_nothing_that_is_gone() {
        let gone = [built("all", &["old"]), built("few", &["one"])];
        assert!(
            choose(SOME, &gone, &[])
                .unwrap_err()
                .to_string()
                .contains("all::new")
        );
        assert!(choose(SOME, &gone[..1], &[]).is_err());
    }
}

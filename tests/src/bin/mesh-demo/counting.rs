//! Counting what commands printed.

use anyhow::{Result, ensure};

/// Counts and names in the output of `sort | uniq -c`.
pub fn counts(output: &str) -> Vec<(u32, &str)> {
    let parts = output
        .lines()
        .filter_map(|line| line.trim_start().split_once(' '));
    parts
        .filter_map(|(count, name)| Some((count.parse().ok()?, name)))
        .collect()
}

/// An error unless exactly these `names` answered, `total` times together, none less than a quarter of its share.
pub fn check_spread(output: &str, names: &[&str], total: u32) -> Result<()> {
    let counts = counts(output);
    let found: Vec<_> = counts.iter().map(|(_, name)| *name).collect();
    ensure!(
        found == names,
        "answers of {names:?} were expected, not of {found:?}"
    );
    let sum: u32 = counts.iter().map(|(count, _)| count).sum();
    ensure!(sum == total, "{total} answers were expected, {sum} came");
    let share = total / u32::try_from(names.len())?;
    let starved = counts.iter().find(|(count, _)| count * 4 < share);
    ensure!(starved.is_none(), "{starved:?} is far from its share of {share}");
    Ok(())
}

/// Tries, and those of them that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Those that got the answer they should.
    pub good: usize,
    /// All others.
    pub failed: usize,
}

impl Tries {
    /// Reads one HTTP status a line; an unfinished last line does not count.
    pub fn read(log: &str) -> Self {
        let complete = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let (good, failed): (Vec<_>, Vec<_>) = complete.partition(|line| line.trim() == "200");
        Self {
            good: good.len(),
            failed: failed.len(),
        }
    }

    /// Those since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            good: self.good - earlier.good,
            failed: self.failed - earlier.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "    103 web-1\n     97 web-2\n";

    #[test]
    fn counts_are_read_as_uniq_writes_them() {
        assert_eq!(counts(OUTPUT), [(103, "web-1"), (97, "web-2")]);
    }

    #[test]
    fn a_good_spread_has_everybody_and_nobody_else() {
        assert!(check_spread(OUTPUT, &["web-1", "web-2"], 200).is_ok());
        assert!(check_spread(OUTPUT, &["web-1", "web-2"], 201).is_err());
        assert!(check_spread(OUTPUT, &["web-1"], 200).is_err());
        assert!(check_spread("198 web-1\n2 web-2", &["web-1", "web-2"], 200).is_err());
    }

    #[test]
    fn whatever_is_not_200_failed() {
        let tries = Tries::read("200\n000\n200\n503\n20");
        assert_eq!(tries, Tries { good: 2, failed: 2 });
        assert_eq!(
            tries.since(Tries { good: 1, failed: 0 }),
            Tries { good: 1, failed: 2 }
        );
    }
}

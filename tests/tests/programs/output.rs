//! What programs say when they are done.

use std::collections::BTreeMap;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use harness::Launch;

/// Runs a program to its end, which has to be a good one; gives what it printed.
pub fn of(launch: Launch) -> Result<String> {
    let output = launch.output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(text(&output))
}

/// What a program printed.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The number after `label`, on a line of its own.
pub fn number<T: std::str::FromStr>(text: &str, label: &str) -> Result<T> {
    let rest = text.lines().find_map(|line| line.trim().strip_prefix(label));
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no {label:?} in {text}"))
}

/// Counts of names as JSON: all of these were met, and so often together.
pub fn assert_named(text: &str, names: &[&str], total: u64) -> Result<()> {
    let counts: BTreeMap<String, u64> = serde_json::from_str(text).with_context(|| text.to_owned())?;
    assert!(counts.keys().eq(names), "{counts:?}");
    assert_eq!(counts.values().sum::<u64>(), total, "{counts:?}");
    Ok(())
}

//! Checks that were skipped say so, loudly.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Names the file to which tests append one line per skipped check: `name: reason`.
pub const MESH_SKIP_LOG: &str = "MESH_SKIP_LOG";

/// Something that was not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// What: a test, or a part of one.
    pub name: String,
    reason: String,
}

impl Skip {
    /// A check and why it did not happen.
    pub fn new(name: &str, reason: &str) -> Self {
        Self {
            name: name.trim().to_owned(),
            reason: reason.trim().to_owned(),
        }
    }

    /// A line of the log, which may say `SKIP` itself. The name may contain `::`.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("SKIP ").unwrap_or(line);
        if line.trim().is_empty() {
            return None;
        }
        let (name, reason) = line.split_once(": ").unwrap_or((line, "no reason given"));
        Some(Self::new(name, reason))
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKIP {}: {}", self.name, self.reason)
    }
}

/// The file behind [`MESH_SKIP_LOG`]; gone when dropped.
pub struct SkipLog(NamedTempFile);

impl SkipLog {
    /// An empty log.
    pub fn create() -> Result<Self> {
        NamedTempFile::with_prefix("mesh-skip-")
            .map(Self)
            .context("cannot create the log of skipped checks")
    }

    /// Where tests write to.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What they wrote.
    pub fn read(&self) -> Result<Vec<Skip>> {
        let bytes = fs::read(self.path()).context("cannot read the log of skipped checks")?;
        Ok(String::from_utf8_lossy(&bytes)
            .lines()
            .filter_map(Skip::parse)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_log_is_a_skip() {
        let log = SkipLog::create().unwrap();
        fs::write(
            log.path(),
            "splice::bounded: no tcx before 6.6\n\nSKIP loud: no root\nodd\n",
        )
        .unwrap();
        let shown: Vec<_> = log.read().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "SKIP splice::bounded: no tcx before 6.6",
                "SKIP loud: no root",
                "SKIP odd: no reason given"
            ]
        );
    }
}

//! Installing `PostgreSQL` on Debian makes a database cluster, unless its configuration forbids that.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const FILE: &str = "/etc/postgresql-common/createcluster.conf";

/// The last setting of a name counts.
const HELD: &str = "\n# Temporary, by `cargo xtask setup`: installing PostgreSQL must not make a cluster.\n\
     create_main_cluster = false\n";

/// While this lives, no package makes a database cluster. Where the file is missing, nothing is held: then
/// the database is either not to be installed or this Debian does it otherwise.
#[must_use]
pub struct HeldClusters {
    /// The file, and its text without ours.
    held: Option<(PathBuf, String)>,
}

impl HeldClusters {
    /// Forbids making clusters on this machine.
    pub fn hold() -> Result<Self> {
        Self::at(Path::new(FILE))
    }

    fn at(file: &Path) -> Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self { held: None }),
            text => text.with_context(|| file.display().to_string())?,
        };
        // Ours may be left by a run that was killed.
        let theirs = text.replace(HELD, "");
        fs::write(file, format!("{theirs}{HELD}")).with_context(|| file.display().to_string())?;
        Ok(Self {
            held: Some((file.to_owned(), theirs)),
        })
    }
}

impl Drop for HeldClusters {
    fn drop(&mut self) {
        if let Some((file, text)) = &self.held
            && let Err(error) = fs::write(file, text)
        {
            eprintln!(
                "warning: PostgreSQL makes no clusters, mend {} yourself: {error}",
                file.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#create_main_cluster = true\nssl = on\n";

    #[test]
    fn clusters_are_forbidden_only_while_they_are_held() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("createcluster.conf");
        fs::write(&file, TEXT).unwrap();
        let held = HeldClusters::at(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(TEXT) && text.ends_with("\ncreate_main_cluster = false\n"));
        drop(held);
        assert_eq!(fs::read_to_string(&file).unwrap(), TEXT);
    }

    #[test]
    fn what_a_killed_run_left_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("createcluster.conf");
        fs::write(&file, format!("{TEXT}{HELD}")).unwrap();
        drop(HeldClusters::at(&file).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), TEXT);
    }

    #[test]
    fn without_the_file_nothing_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("createcluster.conf");
        drop(HeldClusters::at(&file).unwrap());
        assert!(!file.exists());
    }
}

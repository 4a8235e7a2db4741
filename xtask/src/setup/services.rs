//! Installing a server on Debian starts it, unless the policy forbids that.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const POLICY_FILE: &str = "/usr/sbin/policy-rc.d";

/// 101: the action is forbidden by policy.
const POLICY: &str =
    "#!/bin/sh\n# Temporary, by `cargo xtask setup`: installing a server must not start it.\nexit 101\n";

/// While this lives, no package starts a service. A policy that somebody else put there is left as it is.
#[must_use]
pub struct HeldServices {
    ours: Option<PathBuf>,
}

impl HeldServices {
    /// Forbids starting services on this machine.
    pub fn hold() -> Result<Self> {
        Self::at(Path::new(POLICY_FILE))
    }

    fn at(file: &Path) -> Result<Self> {
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(file)
        {
            Ok(mut policy) => {
                let held = Self {
                    ours: Some(file.to_owned()),
                };
                policy
                    .write_all(POLICY.as_bytes())
                    .with_context(|| file.display().to_string())?;
                Ok(held)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // One of ours, left by a run that was killed, is taken over.
                let ours = fs::read_to_string(file).is_ok_and(|text| text == POLICY);
                Ok(Self {
                    ours: ours.then(|| file.to_owned()),
                })
            }
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }
}

impl Drop for HeldServices {
    fn drop(&mut self) {
        if let Some(file) = &self.ours
            && let Err(error) = fs::remove_file(file)
        {
            eprintln!(
                "warning: services stay forbidden, remove {} yourself: {error}",
                file.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_there_only_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy-rc.d");
        let held = HeldServices::at(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), POLICY);
        drop(held);
        assert!(!file.exists());
    }

    #[test]
    fn the_policy_of_somebody_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy-rc.d");
        fs::write(&file, "#!/bin/sh\nexit 0\n").unwrap();
        drop(HeldServices::at(&file).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "#!/bin/sh\nexit 0\n");
    }

    #[test]
    fn a_policy_left_by_a_killed_run_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy-rc.d");
        fs::write(&file, POLICY).unwrap();
        drop(HeldServices::at(&file).unwrap());
        assert!(!file.exists());
    }
}

//! How far the API server's changes are in the kernel: an agent that starts, or whose turn it is, must not go back behind
//! the one before.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::note;
use crate::source::kubernetes::Seen;

/// The note, in the runtime directory.
pub const PROGRESS: &str = "progress.json";

/// Keeps the note.
#[derive(Debug)]
pub struct Progress {
    run_dir: PathBuf,
    written: Seen,
}

impl Progress {
    /// One that goes on with the note that is there.
    #[must_use]
    pub fn new(run_dir: &Path) -> Self {
        Self {
            run_dir: run_dir.to_path_buf(),
            written: load(run_dir),
        }
    }

    /// Notes what the kernel holds by now, if that is more than before. To be called about once a second: agents die
    /// seldom, and most of what they are behind then comes with the list all the same.
    pub fn keep(&mut self, taken_in: &Seen) {
        if self.written == *taken_in {
            return;
        }
        match note::store(&self.run_dir, PROGRESS, taken_in) {
            Ok(()) => self.written = taken_in.clone(),
            Err(error) => tracing::debug!(%error, "how far the tables are is not noted"),
        }
    }
}

/// What an earlier agent noted. What can't be read counts as nothing: the next list may then be of any age.
#[must_use]
pub fn load(run_dir: &Path) -> Seen {
    let noted: io::Result<Option<Seen>> = note::load(run_dir, PROGRESS);
    noted
        .inspect_err(|error| tracing::info!(%error, "how far an earlier agent was can't be read"))
        .ok()
        .flatten()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::kubernetes::{Resource, Version};

    #[test]
    fn what_one_agent_notes_the_next_one_reads() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = Seen::default();
        seen.note(Resource::Pods, &Version("7".into()));
        Progress::new(dir.path()).keep(&seen);
        assert_eq!(load(dir.path()), seen);
        // What is written already is not written again.
        let mut progress = Progress::new(dir.path());
        fs::remove_file(dir.path().join(PROGRESS)).unwrap();
        progress.keep(&seen);
        assert_eq!(load(dir.path()), Seen::default());
    }

    #[test]
    fn garbage_counts_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), Seen::default());
        for garbage in [
            &b""[..],
            b"{",
            b"[1]",
            b"7",
            b"\xff\xfe",
            br#"{"pods":7}"#,
            br#"{"pods":"seven"}"#,
        ] {
            fs::write(dir.path().join(PROGRESS), garbage).unwrap();
            assert_eq!(load(dir.path()), Seen::default(), "{garbage:?}");
        }
    }
}

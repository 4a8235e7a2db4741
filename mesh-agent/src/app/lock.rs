//! One agent for one runtime directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{fs::FlockOperation, io::Errno};
use thiserror::Error;

use super::flock::{Flock, Patience, flock};

/// Why the runtime directory can't be had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another agent has it.
    #[error(
        "another mesh-agent (pid {pid}) runs on {dir}: stop it first, or name another directory with --run-dir"
    )]
    Taken {
        /// The directory.
        dir: PathBuf,
        /// The other's process id, as it wrote it.
        pid: String,
    },
    /// The directory or the file can't be made.
    #[error("runtime directory {dir}: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// The file that is locked, and says who holds it.
const LOCK: &str = "lock";
/// The file whose lock those share who wait for the directory.
const WAITING: &str = "waiting";

/// Held while the process lives; the kernel lets go of it however the process ends.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Makes the directory and takes its lock.
    ///
    /// # Errors
    /// Where another agent has it and that is not to be waited for, or it can't be made.
    pub fn take(dir: &Path, patience: Patience) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            dir: dir.to_path_buf(),
            source,
        };
        let path = dir.join(LOCK);
        let open = || {
            fs::create_dir_all(dir)?;
            // Not truncated: the file says who holds it.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).open(&path)
        };
        let mut file = match flock(&path, open, patience).map_err(failed)? {
            Flock::Held(file) => file,
            Flock::Taken(_) => {
                return Err(LockError::Taken {
                    dir: dir.to_path_buf(),
                    pid: holder(dir),
                });
            }
        };
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self {
            path: dir.to_path_buf(),
            _lock: file,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory, if nothing is left in it that is not ours and nothing is mounted there; returns what
    /// was removed.
    ///
    /// # Errors
    /// What can't be removed, with the reason.
    pub fn remove(self) -> Result<Vec<PathBuf>, LockError> {
        let failed = |path: &Path| {
            let dir = path.to_path_buf();
            move |source| LockError::Io { dir, source }
        };
        let mut removed = Vec::new();
        for name in [
            "admin.sock",
            "names.json",
            "names.json.new",
            "acceleration.json",
            "acceleration.json.new",
            "unobserved.json",
            "unobserved.json.new",
            "progress.json",
            "progress.json.new",
            WAITING,
            LOCK,
        ] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        match fs::remove_dir(&self.path) {
            Ok(()) => removed.push(self.path.clone()),
            // A container's mount, of which the host's side stays.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
                ) => {}
            Err(error) => return Err(failed(&self.path)(error)),
        }
        Ok(removed)
    }

    /// The admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.path)
    }
}

/// The process id of who has the directory, as it wrote it: what it is in its own process namespace.
#[must_use]
pub fn holder(dir: &Path) -> String {
    let pid = fs::read_to_string(dir.join(LOCK)).unwrap_or_default();
    if pid.trim().is_empty() {
        "unknown".to_owned()
    } else {
        pid.trim().to_owned()
    }
}

/// Tells that somebody waits for the directory, until this is dropped.
///
/// # Errors
/// Where the directory can't be written.
pub fn announce(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(WAITING))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)?;
    Ok(file)
}

/// Whether somebody waits for the directory.
#[must_use]
pub fn is_awaited(dir: &Path) -> bool {
    let locked = |file: File| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    File::open(dir.join(WAITING)).is_ok_and(|file| locked(file) == Err(Errno::WOULDBLOCK))
}

/// The admin socket of an agent with the given runtime directory.
#[must_use]
pub fn admin_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("admin.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let take = || RunDir::take(dir.path(), Patience::Refuse);
        let first = take().unwrap();
        let refusal = take().unwrap_err().to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(first);
        take().unwrap();
    }

    #[test]
    fn is_awaited_as_long_as_somebody_waits() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_awaited(dir.path()));
        let [first, second] = [(); 2].map(|()| announce(dir.path()).unwrap());
        assert!(is_awaited(dir.path()));
        drop(first);
        assert!(is_awaited(dir.path()));
        drop(second);
        assert!(!is_awaited(dir.path()));
    }
}

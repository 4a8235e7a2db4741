//! One agent for one runtime directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use thiserror::Error;

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
    /// Where another agent has it, or it can't be made.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            dir: dir.to_path_buf(),
            source,
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let path = dir.join("lock");
        // Not truncated: the file says who holds it.
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut file = options.map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let read = file.read_to_string(&mut pid);
                let pid = if read.is_ok() && !pid.trim().is_empty() {
                    pid.trim()
                } else {
                    "unknown"
                };
                return Err(LockError::Taken {
                    dir: dir.to_path_buf(),
                    pid: pid.to_owned(),
                });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
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
            "lock",
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
        let first = RunDir::take(dir.path()).unwrap();
        let refusal = RunDir::take(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(first);
        RunDir::take(dir.path()).unwrap();
    }
}

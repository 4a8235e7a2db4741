//! One agent for one BPF filesystem, whatever its runtime directory: two would take turns in undoing what the
//! other wrote.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::flock::{Flock, Patience, flock};

/// Why the pins can't be had.
#[derive(Debug, Error)]
pub enum PinLockError {
    /// Another agent has them.
    #[error(
        "another mesh-agent{} keeps its tables under {dir}: stop it first, or name another BPF filesystem with --bpffs",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Taken {
        /// The directory of the pins.
        dir: PathBuf,
        /// The other's process id, where it can be seen from here.
        pid: Option<u32>,
    },
    /// The directory can't be opened or locked.
    #[error("directory of the pins {dir}: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Held while the process lives; the kernel lets go of it however the process ends.
#[derive(Debug)]
pub struct PinLock {
    _dir: File,
}

impl PinLock {
    /// Takes the lock of the directory that all pins lie in, which must be there.
    ///
    /// # Errors
    /// Where another agent has it and that is not to be waited for, or it can't be opened.
    pub fn take(dir: &Path, patience: Patience) -> Result<Self, PinLockError> {
        let failed = |source| PinLockError::Io {
            dir: dir.to_path_buf(),
            source,
        };
        match flock(dir, || File::open(dir), patience).map_err(failed)? {
            Flock::Held(file) => Ok(Self { _dir: file }),
            Flock::Taken(file) => Err(PinLockError::Taken {
                dir: dir.to_path_buf(),
                pid: holder(&file),
            }),
        }
    }
}

/// Who holds the lock of a file, as the kernel tells.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    let device = rustix::fs::fstat(file).ok()?.st_dev;
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    find_holder(&fs::read_to_string("/proc/locks").ok()?, device, inode)
}

/// `proc_locks(5)`: number, kind, mode, access, process id, `major:minor:inode` (the first two hexadecimal) ...;
/// the process id is 0 or -1 where it can't be seen from here.
fn find_holder(locks: &str, (major, minor): (u32, u32), inode: u64) -> Option<u32> {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, pid) = (fields.next()?, fields.nth(2)?);
        let is_it = kind == "FLOCK" && fields.next()? == place;
        is_it.then(|| pid.parse().ok().filter(|&pid| pid != 0))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = PinLock::take(dir.path(), Patience::Refuse).unwrap();
        let refusal = PinLock::take(dir.path(), Patience::Refuse)
            .unwrap_err()
            .to_string();
        assert_eq!(
            refusal,
            format!(
                "another mesh-agent (pid {}) keeps its tables under {}: stop it first, or name another BPF filesystem \
                 with --bpffs",
                std::process::id(),
                dir.path().display()
            )
        );
        drop(first);
        PinLock::take(dir.path(), Patience::Refuse).unwrap();
    }

    #[test]
    fn a_holder_is_found_by_its_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:1d:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 00:1d:8 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 99 00:1d:7 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 00:1d:7 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 0 00:1d:9 0 EOF\n";
        assert_eq!(find_holder(locks, (0, 0x1d), 7), Some(13));
        assert_eq!(find_holder(locks, (0, 0x1d), 9), None);
        assert_eq!(find_holder(locks, (0, 0x1e), 7), None);
    }
}

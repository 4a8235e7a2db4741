//! A lock of the kernel (flock) on a file or directory that others may remove meanwhile.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::{fs::FlockOperation, io::Errno};

/// What to do where another process has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// Say who has it.
    Refuse,
    /// Wait in the kernel, however long that takes.
    Wait,
}

/// A lock that was asked for.
#[derive(Debug)]
pub enum Flock {
    /// Held for as long as the file is open; the kernel lets go of it however the process ends.
    Held(File),
    /// Another has it.
    Taken(File),
}

/// Locks what `open` opens, which lies at `path`.
///
/// # Errors
/// Where it can't be opened or locked.
pub fn flock(path: &Path, open: impl Fn() -> io::Result<File>, patience: Patience) -> io::Result<Flock> {
    let operation = match patience {
        Patience::Refuse => FlockOperation::NonBlockingLockExclusive,
        Patience::Wait => FlockOperation::LockExclusive,
    };
    loop {
        let file = open()?;
        match rustix::fs::flock(&file, operation) {
            // Who held it before may have removed it (`mesh-agent cleanup`): then this is a lock of nothing.
            Ok(()) if is_at(&file, path)? => return Ok(Flock::Held(file)),
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Flock::Taken(file)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn who_waited_for_a_file_that_was_removed_gets_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
        };
        let Flock::Held(first) = flock(&path, open, Patience::Refuse).unwrap() else {
            panic!("nobody has it");
        };
        let taken = flock(&path, open, Patience::Refuse).unwrap();
        assert!(matches!(taken, Flock::Taken(_)), "{taken:?}");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| flock(&path, open, Patience::Wait));
            thread::sleep(Duration::from_millis(50));
            assert!(!waiting.is_finished());
            fs::remove_file(&path).unwrap();
            drop(first);
            let Flock::Held(second) = waiting.join().unwrap().unwrap() else {
                panic!("the first has let go");
            };
            assert!(is_at(&second, &path).unwrap());
        });
    }
}

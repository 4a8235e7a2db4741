//! Tells whether a file may have changed without reading it.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file written this short before it was read may be written again without a trace: clocks of file
/// systems tick in steps of some milliseconds.
const TICK: Duration = Duration::from_millis(100);

/// What identifies the contents of a file, as far as the file system tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    file: Identity,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Which file or directory this is, whatever its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            file: Identity::of(metadata),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a later change would show, for a file read at that time.
    fn is_final(&self, read: SystemTime) -> bool {
        let read = read.duration_since(UNIX_EPOCH).unwrap_or_default();
        let latest = [self.modified, self.changed].map(|(seconds, nanos)| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            Duration::new(seconds, u32::try_from(nanos).unwrap_or_default())
        });
        latest.into_iter().all(|time| time + TICK < read)
    }
}

/// What was seen of a file when it was read last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    stamp: Stamp,
    read: SystemTime,
    /// Of its contents; `None` where they could not be read.
    hash: Option<u64>,
}

impl Seen {
    pub(super) fn now(stamp: Stamp, contents: Option<&[u8]>) -> Self {
        Self {
            stamp,
            read: SystemTime::now(),
            hash: contents.map(|contents| {
                let mut hasher = DefaultHasher::new();
                contents.hash(&mut hasher);
                hasher.finish()
            }),
        }
    }

    /// Whether the file need not be read again.
    pub(super) fn is_current(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp && self.stamp.is_final(self.read)
    }

    /// Whether the contents are those seen before.
    pub(super) fn same_contents(&self, other: &Self) -> bool {
        self.hash.is_some() && self.hash == other.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: i64) -> Stamp {
        Stamp {
            file: Identity { device: 1, inode: 2 },
            size: 3,
            modified: (seconds, 0),
            changed: (seconds, 0),
        }
    }

    #[test]
    fn a_file_read_right_after_it_was_written_is_read_again() {
        let read = |millis| Seen {
            stamp: stamp(100),
            read: UNIX_EPOCH + Duration::from_millis(millis),
            hash: None,
        };
        assert!(!read(100_000).is_current(&stamp(100)));
        assert!(!read(100_050).is_current(&stamp(100)));
        assert!(read(100_200).is_current(&stamp(100)));
        assert!(!read(100_200).is_current(&stamp(101)));
        assert!(!read(99_000).is_current(&stamp(100)), "a file of the future");
    }

    #[test]
    fn contents_are_compared_only_where_they_are_known() {
        let seen = |contents: Option<&str>| Seen::now(stamp(1), contents.map(str::as_bytes));
        assert!(seen(Some("a")).same_contents(&seen(Some("a"))));
        assert!(!seen(Some("a")).same_contents(&seen(Some("b"))));
        assert!(!seen(None).same_contents(&seen(None)));
    }
}

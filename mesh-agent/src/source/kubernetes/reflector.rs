//! What to ask the API server next. Pure.
//!
//! As client-go's reflector does it (`tools/cache/reflector.go`): the first list may be of any age (version 0, which
//! the server answers from memory), unless an earlier agent said how far it was; then changes are watched from there on, over as many connections as it takes.
//! Only where the server no longer has the changes since (410) is there another list, and that one must not be older
//! than what was seen: it asks for the last version seen, and where the server doesn't have that (410, or "too large
//! resource version"), for the latest there is. A server that was set back without saying so is believed, too.

use std::time::Duration;

use super::item::Version;

/// A watch that ends sooner than this without an event was not worth its request.
const SHORT: Duration = Duration::from_secs(1);

/// After so many silent watches in a row there is a list. The first may be of a server that is gone. Where there is one
/// that sends nothing, not even bookmarks, it was set back: it waits until it comes to the version that was asked for.
const SILENT: u32 = 2;

/// A request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// All objects, not older than this version; any at 0, the latest where it is empty.
    List(Version),
    /// All changes since this version.
    Watch(Version),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// As it should: a watch that lived that long.
    Done(Duration),
    /// The connection broke after that long.
    Cut(Duration),
    /// Nothing came for longer than servers are silent.
    Silent,
    /// The server does not have this version: no more, or not yet.
    Gone,
    /// Otherwise.
    Failed,
}

/// Follows one resource.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Reflector {
    version: Option<Version>,
    must_watch: bool,
    /// Whether a list came in.
    has_listed: bool,
    /// The last list of a version failed because the server does not have it.
    unavailable: bool,
    /// Whether the present watch brought anything.
    progressed: bool,
    /// Requests in a row that brought nothing.
    failures: u32,
    /// Watches in a row that were silent.
    silent: u32,
}

impl Reflector {
    /// One that begins where another one was: its first list must not be older than what that one saw, as if it had seen
    /// it itself.
    #[must_use]
    pub fn after(version: Option<Version>) -> Self {
        Self {
            version,
            ..Self::default()
        }
    }

    /// The last version seen.
    #[must_use]
    pub const fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// The next request.
    #[must_use]
    pub fn ask(&self) -> Ask {
        match &self.version {
            Some(version) if self.must_watch => Ask::Watch(version.clone()),
            _ if self.unavailable => Ask::List(Version(String::new())),
            Some(version) => Ask::List(version.clone()),
            None => Ask::List(Version("0".to_owned())),
        }
    }

    /// Whether there is more than one list: what was known before may be newer than what comes.
    #[must_use]
    pub const fn has_listed(&self) -> bool {
        self.has_listed
    }

    /// A list came in whole; returns whether it is older than what was seen before, which happens where the server's
    /// storage was set back.
    pub fn listed(&mut self, version: Version) -> bool {
        let back = self.is_back(&version);
        self.version = Some(version);
        self.has_listed = true;
        self.must_watch = true;
        self.unavailable = false;
        self.progressed = false;
        back
    }

    /// Whether a watch that brings this goes on before what was seen: versions of one resource only rise, as long as
    /// the server's storage is not set back.
    #[must_use]
    pub fn is_back(&self, version: &Version) -> bool {
        let seen = self.version.as_ref().and_then(Version::number);
        seen.is_some_and(|seen| version.is_before(seen))
    }

    /// A watch brought something.
    pub fn progress(&mut self, version: Version) {
        self.progressed = true;
        self.failures = 0;
        self.silent = 0;
        if !version.0.is_empty() {
            self.version = Some(version);
        }
    }

    /// A list failed; returns how many times something did in a row, which tells how long to wait.
    pub fn list_ended(&mut self, end: End) -> u32 {
        if end == End::Gone && !self.unavailable && self.version.is_some() {
            // Another question than before, so there is no need to wait.
            self.unavailable = true;
            return 0;
        }
        self.unavailable |= end == End::Gone;
        self.failed()
    }

    /// A watch is over; returns how many times something failed in a row, which tells how long to wait.
    pub fn watch_ended(&mut self, end: End) -> u32 {
        let progressed = std::mem::take(&mut self.progressed);
        match end {
            End::Done(lived) if progressed || lived >= SHORT => {
                self.failures = 0;
                0
            }
            // A server that goes loses all its watches at once: they must not all come back in the same moment.
            End::Cut(lived) if progressed || lived >= SHORT => {
                self.failures = 0;
                1
            }
            End::Gone => {
                self.must_watch = false;
                self.failed()
            }
            End::Silent => {
                self.silent = (self.silent + 1) % SILENT;
                self.must_watch = self.silent > 0;
                self.failures = 0;
                1
            }
            _ => self.failed(),
        }
    }

    fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }
}

#[cfg(test)]
mod tests;

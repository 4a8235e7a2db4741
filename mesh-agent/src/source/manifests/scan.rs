//! Reads what changed in a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Batch;
use super::decode::{Source, decode};
use super::directory::{Directory, Reading};
use super::problem::{Fault, Place, Problem};
use super::stamp::{Seen, Stamp};
use crate::model::cluster::Event;
use crate::sys::heap;

/// Largest file that is read.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Text is decoded in portions of about that many bytes, so that a large directory is never all in memory.
pub(super) const PORTION: usize = 4 * 1024 * 1024;

/// So much text leaves memory behind that is worth giving back: reading takes many times what is kept.
const UNTIDY: usize = 1024 * 1024;

/// A directory of manifests.
#[derive(Debug)]
pub struct ManifestSource {
    path: PathBuf,
    directory: Directory,
    seen: BTreeMap<String, Seen>,
    /// Bytes decoded since memory was last given back.
    decoded: usize,
}

/// Why a directory of manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there or may not be read.
    #[error("directory of manifests {path}: {source}")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was found under the name of a file.
enum Found {
    /// Nothing new.
    Same,
    /// Text to decode.
    Text(String),
    /// It cannot be read.
    Failed(Fault),
    /// Nothing, or nothing that is a file.
    Nothing,
}

impl ManifestSource {
    /// Opens a directory, which must be there. Nothing of it is read yet.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be listed.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        match fs::read_dir(&path) {
            Ok(_) => Ok(Self {
                path,
                directory: Directory::default(),
                seen: BTreeMap::new(),
                decoded: 0,
            }),
            Err(source) => Err(OpenError::Unreadable { path, source }),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the files that changed since the last time and says what changed in them. Where the directory
    /// itself is gone, nothing changes and the problems say so.
    pub fn scan(&mut self) -> Batch {
        self.scan_except(&BTreeSet::new())
    }

    /// As [`Self::scan`], without a look at some files that are being written.
    pub(super) fn scan_except(&mut self, busy: &BTreeSet<String>) -> Batch {
        let (events, gone) = match list(&self.path) {
            Ok(names) => (self.update(&names, busy), None),
            Err(error) => (Vec::new(), Some(Fault::DirectoryGone(error.to_string()))),
        };
        let own = gone.map(|fault| self.problem(fault));
        Batch {
            events,
            problems: own.into_iter().chain(self.directory.problems()).collect(),
            notes: self.directory.notes(),
        }
    }

    /// Gives back the memory that reading took, if that was much; to be called when there is time.
    pub(super) fn tidy(&mut self) {
        if self.decoded >= UNTIDY {
            self.decoded = 0;
            heap::trim();
        }
    }

    /// A problem of the directory as a whole.
    pub(super) fn problem(&self, fault: Fault) -> Problem {
        Problem {
            file: self.path.display().to_string(),
            place: Place::default(),
            fault,
        }
    }

    fn update(&mut self, names: &BTreeSet<String>, busy: &BTreeSet<String>) -> Vec<Event> {
        let mut readings = Vec::new();
        let mut texts = Vec::new();
        let mut bytes = 0;
        let known: BTreeSet<String> = self.directory.files().map(str::to_owned).collect();
        for name in names.union(&known).filter(|name| !busy.contains(*name)) {
            match self.look(name) {
                Found::Same => {}
                Found::Text(text) => {
                    bytes += text.len();
                    self.decoded += text.len();
                    texts.push((name.clone(), text));
                    if bytes >= PORTION {
                        readings.extend(decode_all(&mut texts));
                        bytes = 0;
                    }
                }
                Found::Failed(fault) => readings.push((name.clone(), Reading::Failed(fault))),
                Found::Nothing => {
                    self.seen.remove(name);
                    readings.push((name.clone(), Reading::Gone));
                }
            }
        }
        readings.extend(decode_all(&mut texts));
        self.directory.update(readings)
    }

    fn look(&mut self, name: &str) -> Found {
        let path = self.path.join(name);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Err(error) if fs::symlink_metadata(&path).is_ok() => {
                self.seen.remove(name);
                return Found::Failed(Fault::Unreadable(error.to_string()));
            }
            Ok(_) | Err(_) => return Found::Nothing,
        };
        let stamp = Stamp::of(&metadata);
        let seen = self.seen.get(name);
        if seen.is_some_and(|seen| seen.is_current(&stamp)) {
            return Found::Same;
        }
        match read(&path) {
            Ok(bytes) => {
                let now = Seen::now(stamp, Some(&bytes));
                let same = seen.is_some_and(|seen| seen.same_contents(&now));
                self.seen.insert(name.to_owned(), now);
                if same {
                    return Found::Same;
                }
                String::from_utf8(bytes).map_or(Found::Failed(Fault::NotText), Found::Text)
            }
            Err(fault) => {
                self.seen.insert(name.to_owned(), Seen::now(stamp, None));
                Found::Failed(fault)
            }
        }
    }
}

/// Decodes the texts of files and lets go of them.
fn decode_all(texts: &mut Vec<(String, String)>) -> Vec<(String, Reading)> {
    let sources: Vec<_> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    let contents = decode(&sources);
    let names = texts.drain(..).map(|(name, _)| name);
    names.zip(contents.into_iter().map(Reading::Contents)).collect()
}

/// The names of the files that count.
fn list(path: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_manifest(name)) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// Whether a file of that name counts.
fn is_manifest(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|it| it.to_str());
    !name.starts_with('.') && matches!(extension, Some("yaml" | "yml" | "json"))
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: io::Error| Fault::Unreadable(error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(Fault::TooLarge { bytes });
    }
    let mut contents = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    let mut limited = file.take(MAX_FILE_BYTES + 1);
    limited.read_to_end(&mut contents).map_err(unreadable)?;
    if contents.len() as u64 > MAX_FILE_BYTES {
        return Err(Fault::TooLarge {
            bytes: contents.len() as u64,
        });
    }
    Ok(contents)
}

//! What is wrong with the manifests, in words for their author.

use std::fmt;

use crate::model::object::ObjectRef;
use crate::source::Unfit;

/// Something wrong in a file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}{place}: {fault}")]
pub struct Problem {
    /// Name of the file within the directory, or the directory itself.
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// What is wrong.
    pub fault: Fault,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The document, counted from 1; documents without content do not count.
    pub document: Option<usize>,
    /// The line, counted from 1.
    pub line: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(document) = self.document {
            write!(f, ": document {document}")?;
        }
        Ok(())
    }
}

/// What can be wrong with a file or a document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The directory is not there any more.
    #[error("cannot be read, so its last state stays: {0}")]
    DirectoryGone(String),
    /// Changes of the directory are not reported to us.
    #[error("cannot be watched, so changes are noticed only every few seconds: {0}")]
    Unwatched(String),
    /// The file cannot be read.
    #[error("cannot be read, so its last state stays: {0}")]
    Unreadable(String),
    /// The file is too large.
    #[error(
        "has {bytes} bytes, more than the {} a file may have",
        super::scan::MAX_FILE_BYTES
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// The file is not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// Not YAML or not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A document that is a list, a number ... and no object.
    #[error("is no Kubernetes object: kind and apiVersion are expected")]
    NotAnObject,
    /// A kind that the mesh reads, in a version it does not.
    #[error("{object}: apiVersion: {found:?} is not supported, {expected:?} is")]
    Version {
        /// The object.
        object: String,
        /// The version it has.
        found: String,
        /// The version that would be read.
        expected: &'static str,
    },
    /// An object that says what it must not.
    #[error(transparent)]
    Unfit(Unfit),
    /// An object that is there before; the first one counts.
    #[error("{object} is ignored: {first} has it too")]
    Twice {
        /// The object.
        object: ObjectRef,
        /// The file that counts.
        first: String,
    },
}

/// An object that the mesh does not read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Name of the file.
    pub file: String,
    /// Where in the file.
    pub place: Place,
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            place,
            api_version,
            kind,
        } = self;
        write!(f, "{file}{place}: {api_version} {kind} is not for the mesh")
    }
}

//! A directory of ordinary Kubernetes manifests, read again whenever it changes.
//!
//! Every `*.yaml`, `*.yml` and `*.json` file of the directory counts, except those whose name begins with
//! a dot; subdirectories do not. [`ManifestSource`] reads the directory once at a call, [`ManifestWatch`]
//! does so whenever something happens in it. What a mistake in a file makes of the objects in it is decided
//! in [`directory`]: the last good state stays.

use crate::model::cluster::Event;

mod decode;
pub mod directory;
mod document;
mod kind;
mod locate;
mod problem;
mod scan;
mod stamp;
mod wake;
mod watch;

#[cfg(test)]
mod tests;

pub use problem::{Fault, Note, Place, Problem};
pub use scan::{ManifestSource, OpenError};
pub use watch::ManifestWatch;

/// What a look at the directory brought.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    /// What changed.
    pub events: Vec<Event>,
    /// Everything that is wrong with the directory now, in the order of the files.
    pub problems: Vec<Problem>,
    /// Objects that are there and not for the mesh.
    pub notes: Vec<Note>,
}

//! The directory of manifests that the agent watches.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

use crate::manifest::Manifest;

/// Puts objects into the directory and takes them out, as `kubectl` would a cluster.
#[derive(Clone, Debug)]
pub struct Manifests {
    dir: PathBuf,
}

impl Manifests {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates or replaces an object.
    pub fn apply(&self, object: &Manifest) -> Result<()> {
        self.write(&object.file_name(), &object.to_string())
    }

    /// Creates or replaces several objects, one after the other.
    pub fn apply_all<'a>(&self, objects: impl IntoIterator<Item = &'a Manifest>) -> Result<()> {
        objects.into_iter().try_for_each(|object| self.apply(object))
    }

    /// Deletes an object.
    pub fn delete(&self, object: &Manifest) -> Result<()> {
        self.remove(&object.file_name())
    }

    /// Writes a file as it is; the name ends in `.yaml` or `.json`. The reader sees all of it or nothing.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (draft, path) = (self.dir.join(format!(".draft-{number}")), self.dir.join(name));
        fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("writing {}", path.display()))
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

//! A root file system in memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context, Result};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A symbolic link, and where it leads.
    Link(String),
    /// A file: content and mode.
    File(Vec<u8>, u32),
}

/// All files, by their path without the first slash.
#[derive(Debug, Default)]
pub struct Root(BTreeMap<String, Entry>);

impl Root {
    /// Adds an entry, and the directories above it.
    pub fn insert(&mut self, path: &str, entry: Entry) {
        for (end, _) in path.match_indices('/') {
            self.0.entry(path[..end].to_owned()).or_insert(Entry::Directory);
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// Adds the content of a file of this machine.
    pub fn copy(&mut self, file: &Path, path: &str, mode: u32) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("{} is wanted in the image", file.display()))?;
        self.insert(path, Entry::File(bytes, mode));
        Ok(())
    }

    /// Everything, in order of the paths.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Makes a directory with everything in it.
    pub fn lay_out(&self, directory: &Path) -> Result<()> {
        fs::create_dir(directory).with_context(|| directory.display().to_string())?;
        for (path, entry) in self.entries() {
            let path = directory.join(path);
            match entry {
                Entry::Directory => fs::create_dir(&path),
                Entry::Link(target) => symlink(target, &path),
                Entry::File(bytes, mode) => fs::write(&path, bytes)
                    .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(*mode))),
            }
            .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them() {
        let mut root = Root::default();
        root.insert("usr/bin/a", Entry::Link("b".to_owned()));
        root.insert("usr/bin/b", Entry::File(b"b".to_vec(), 0o755));
        let paths: Vec<_> = root.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin/a", "usr/bin/b"]);
        let dir = tempfile::tempdir().unwrap();
        let laid = dir.path().join("root");
        root.lay_out(&laid).unwrap();
        assert_eq!(fs::read(laid.join("usr/bin/a")).unwrap(), b"b");
        assert!(
            root.lay_out(&laid).is_err(),
            "nothing is mixed with what is there"
        );
    }
}

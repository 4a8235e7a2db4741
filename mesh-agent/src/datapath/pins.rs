//! Where maps and links are pinned: `<bpffs>/mesh/v<abi>/{maps,links}/NAME`.

use std::{
    fs, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use mesh_common::{abi::ABI_VERSION, names};
use rustix::fs::FsWord;
use thiserror::Error;

use crate::sys::bpf;

/// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: FsWord = 0xcafe_4a11;

/// Ends the name of a link that is about to replace another.
const UNFINISHED: &str = "_new";

/// Why the pins can't be used.
#[derive(Debug, Error)]
pub enum PinError {
    /// The mount point is missing or no BPF filesystem.
    #[error(
        "{path} is not a BPF filesystem: mount one with `mount -t bpf bpf {path}`, or name another with --bpffs; \
         into a container the node's own has to be mounted"
    )]
    NotBpffs {
        /// What was given.
        path: PathBuf,
    },
    /// A directory could not be made or read.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// The pins of one ABI version.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
    mount: PathBuf,
}

impl Pins {
    /// Below the BPF filesystem mounted at `bpffs`; nothing is touched.
    #[must_use]
    pub fn new(bpffs: &Path) -> Self {
        let root = bpffs.join(names::path::PIN_ROOT).join(format!("v{ABI_VERSION}"));
        Self {
            root,
            mount: bpffs.to_path_buf(),
        }
    }

    /// The directory of this ABI version.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of all ABI versions.
    #[must_use]
    pub fn top(&self) -> PathBuf {
        self.mount.join(names::path::PIN_ROOT)
    }

    /// Path of a map's pin.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    /// Path of a link's pin.
    #[must_use]
    pub fn link(&self, name: &str) -> PathBuf {
        self.root.join("links").join(name)
    }

    /// Makes the directories, readable by root only.
    ///
    /// # Errors
    /// Where `bpffs` is no BPF filesystem, or the kernel refuses.
    pub fn create(&self) -> Result<(), PinError> {
        let is_bpffs = rustix::fs::statfs(&self.mount).is_ok_and(|stat| stat.f_type == BPF_FS_MAGIC);
        if !is_bpffs {
            return Err(PinError::NotBpffs {
                path: self.mount.clone(),
            });
        }
        for dir in [self.root.join("maps"), self.root.join("links")] {
            let made = fs::create_dir_all(&dir).and_then(|()| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
            });
            made.map_err(|source| PinError::Io { path: dir, source })?;
        }
        Ok(())
    }

    /// Pins a link under a name, in place of one that may be there: whatever that one runs goes on until this
    /// one does.
    ///
    /// # Errors
    /// The kernel's.
    pub fn replace_link(&self, name: &str, link: BorrowedFd<'_>) -> io::Result<()> {
        // bpffs takes no dots in names.
        let fresh = self.link(&format!("{name}{UNFINISHED}"));
        remove_if_there(&fresh)?;
        bpf::pin(link, &fresh)?;
        fs::rename(&fresh, self.link(name))
    }

    /// Removes the pin of a link, and so detaches its program; what is already gone is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_link(&self, name: &str) -> io::Result<()> {
        remove_if_there(&self.link(name))
    }

    /// Removes what an agent that was killed between two steps of [`Self::replace_link`] left: a second link
    /// that runs beside the first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn discard_unfinished(&self) -> io::Result<()> {
        let names = self.links()?;
        names
            .iter()
            .filter(|name| name.ends_with(UNFINISHED))
            .try_for_each(|name| self.remove_link(name))
    }

    /// Names of the pinned links.
    ///
    /// # Errors
    /// Where the directory can't be read.
    pub fn links(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.root.join("links"))?;
        names
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// Removes every pin, of this and of other ABI versions, and so everything that is attached; returns
    /// what was removed. What is already gone is no error.
    ///
    /// # Errors
    /// The first path that can't be removed, with the reason.
    pub fn remove_all(&self) -> Result<Vec<PathBuf>, PinError> {
        let mut removed = Vec::new();
        remove_tree(&self.top(), &mut removed)?;
        Ok(removed)
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes links before maps (`links` sorts before `maps`), so that no program runs on maps that are gone.
fn remove_tree(path: &Path, removed: &mut Vec<PathBuf>) -> Result<(), PinError> {
    let failed = |source| PinError::Io {
        path: path.to_path_buf(),
        source,
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mut children = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    children.sort_by_key(fs::DirEntry::file_name);
    for child in children {
        let child_path = child.path();
        if child.file_type().map_err(failed)?.is_dir() {
            remove_tree(&child_path, removed)?;
        } else {
            fs::remove_file(&child_path).map_err(|source| PinError::Io {
                path: child_path.clone(),
                source,
            })?;
            removed.push(child_path);
        }
    }
    fs::remove_dir(path).map_err(failed)
}

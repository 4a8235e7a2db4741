//! Attaches the cgroup programs by pinned links, or takes over the links of a previous agent.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use aya::{Ebpf, programs::ProgramError};
use rustix::fs::FsWord;
use thiserror::Error;

use super::{
    accel,
    hooks::{self, HOOKS, Hook},
    pins::Pins,
};
use crate::sys::bpf::{self, Target};

/// Why a program can't be attached.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The cgroup can't be opened.
    #[error("cgroup {path}: {source}: name a cgroup2 directory with --cgroup")]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("attaching {program} to cgroup {cgroup}: {source}{hint}", hint = hint(.source))]
    Attach {
        /// The program.
        program: &'static str,
        /// The directory.
        cgroup: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A pin can't be made, opened or removed.
    #[error("pin {path}: {source}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The program was not loaded.
    #[error("program {program}: {source}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The reason.
        source: Box<ProgramError>,
    },
}

/// How a program came to run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attached {
    /// A new link was made.
    New,
    /// A previous agent's link runs our program now; no event was missed.
    Adopted,
}

/// A cgroup2 directory, open.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    dir: File,
}

impl Cgroup {
    /// Opens a cgroup2 directory.
    ///
    /// # Errors
    /// Where it is missing or lies in another filesystem.
    pub fn open(path: &Path) -> Result<Self, LinkError> {
        const CGROUP2_MAGIC: FsWord = 0x6367_7270;
        let failed = |source| LinkError::Cgroup {
            path: path.to_path_buf(),
            source,
        };
        let dir = File::open(path).map_err(failed)?;
        let stat = rustix::fs::fstatfs(&dir).map_err(|errno| failed(errno.into()))?;
        if stat.f_type != CGROUP2_MAGIC {
            return Err(failed(io::Error::other("not in a cgroup2 filesystem")));
        }
        Ok(Self {
            path: path.to_path_buf(),
            dir,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's id of the cgroup: the inode number of its directory.
    ///
    /// # Errors
    /// Where the directory can't be asked.
    pub fn id(&self) -> io::Result<u64> {
        self.dir.metadata().map(|metadata| metadata.ino())
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Makes every hook run its program in the cgroup: by updating the pinned link where one is there and
/// attached to this cgroup, else by a new link.
///
/// # Errors
/// The first hook that can't be attached; those before it stay attached.
pub fn attach(ebpf: &Ebpf, pins: &Pins, cgroup: &Cgroup) -> Result<Vec<(Hook, Attached)>, LinkError> {
    let links = pins.link("");
    pins.discard_unfinished()
        .map_err(|source| LinkError::Pin { path: links, source })?;
    HOOKS
        .into_iter()
        .map(|hook| Ok((hook, attach_one(ebpf, pins, cgroup, hook)?)))
        .collect()
}

fn attach_one(ebpf: &Ebpf, pins: &Pins, cgroup: &Cgroup, hook: Hook) -> Result<Attached, LinkError> {
    let no_program = |source| LinkError::Program {
        program: hook.program,
        source: Box::new(source),
    };
    let program = accel::best(ebpf, hook.program).ok_or_else(|| no_program(ProgramError::NotLoaded))?;
    let program = hooks::fd(program).map_err(no_program)?;

    let path = pins.link(hook.program);
    let refused = |source| LinkError::Attach {
        program: hook.program,
        cgroup: cgroup.path.clone(),
        source,
    };
    let pin_failed = |source| LinkError::Pin {
        path: path.clone(),
        source,
    };
    if let Some(link) = pinned_here(&path, cgroup, hook)? {
        match bpf::link_update(link.as_fd(), program) {
            Ok(()) => return Ok(Attached::Adopted),
            Err(error) => {
                tracing::warn!(link = %path.display(), %error, "the pinned link can't be updated; attaching anew");
            }
        }
    }
    // Attach first, then replace the pin: an old link that still works goes on working until the new one does.
    let link = bpf::attach_to_cgroup(program, cgroup.as_fd(), hook.attach).map_err(refused)?;
    pins.replace_link(hook.program, link.as_fd())
        .map_err(pin_failed)?;
    Ok(Attached::New)
}

/// The pinned link, if it is attached where we want to be attached.
fn pinned_here(path: &Path, cgroup: &Cgroup, hook: Hook) -> Result<Option<std::os::fd::OwnedFd>, LinkError> {
    let pin_failed = |source| LinkError::Pin {
        path: path.to_path_buf(),
        source,
    };
    let link = match bpf::open_pin(path) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(pin_failed(error)),
    };
    let info = bpf::link_info(link.as_fd()).map_err(pin_failed)?;
    let id = cgroup.id().map_err(|source| LinkError::Cgroup {
        path: cgroup.path.clone(),
        source,
    })?;
    let attach_type = hook.attach as u32;
    let here = info.target == Target::Cgroup { id, attach_type };
    if !here {
        tracing::warn!(link = %path.display(), ?info, "the pinned link is attached elsewhere; attaching anew");
    }
    Ok(here.then_some(link))
}

/// The next step for the errors that have one.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            " (the agent needs CAP_BPF and CAP_NET_ADMIN, and no program attached above may be exclusive: \
             see `bpftool cgroup tree`)"
        }
        Some(libc::EBADF) => " (not a cgroup2 directory)",
        _ => "",
    }
}

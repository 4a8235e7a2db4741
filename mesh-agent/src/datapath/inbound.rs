//! The program at the listeners of the pods: a link to each pod's network namespace, pinned as `PROGRAM_COOKIE`.
//!
//! A link does not keep its namespace alive. It is dead once that is gone, and its pin is removed with the pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use aya::{Ebpf, programs::ProgramError};
use thiserror::Error;

use super::{
    hooks::{self, Hook},
    pins::Pins,
};
use crate::sys::bpf::{self, AttachType, LinkInfo, Target};

const PROGRAM: &str = "mesh_inbound";

/// The program, and where it is attached in a namespace.
pub const HOOK: Hook = Hook {
    program: PROGRAM,
    attach: AttachType::SkLookup,
};

/// Why connections to pods are not judged.
#[derive(Debug, Error)]
pub enum InboundError {
    /// The kernel refused the program.
    #[error("loading the program {PROGRAM}: {}", hooks::refusal(.0))]
    Program(#[source] Box<ProgramError>),
    /// It can't be attached.
    #[error("attaching {PROGRAM} to the network namespace {path}: {source}")]
    Attach {
        /// Handle of the namespace.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// What is attached can't be listed or removed.
    #[error("links of {PROGRAM}: {0}")]
    Links(#[from] io::Error),
}

/// Network namespaces by cookie, each with its handle.
pub type Namespaces = BTreeMap<u64, PathBuf>;

/// Attaches the program to the pods' network namespaces, and to no others.
pub struct Inbound {
    pins: Pins,
    program: OwnedFd,
    id: u32,
    /// Cookies of the namespaces whose pinned link runs our program, as far as is known.
    attached: BTreeSet<u64>,
}

impl Inbound {
    /// Loads the program, and makes what a previous agent attached run it, without a gap. Links whose namespace is gone are
    /// removed.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn start(ebpf: &mut Ebpf, pins: &Pins) -> Result<Self, InboundError> {
        let failed = |source| InboundError::Program(Box::new(source));
        let program = ebpf
            .program_mut(PROGRAM)
            .ok_or_else(|| failed(ProgramError::NotLoaded))?;
        hooks::load(program).map_err(failed)?;
        let program = hooks::fd(program).map_err(failed)?.try_clone_to_owned()?;
        let mut inbound = Self {
            pins: pins.clone(),
            id: bpf::program_id(program.as_fd())?,
            program,
            attached: BTreeSet::new(),
        };
        for cookie in pinned(pins)? {
            match inbound.take_over(cookie) {
                Ok(true) => {
                    inbound.attached.insert(cookie);
                }
                Ok(false) => pins.remove_link(&pin_name(cookie))?,
                Err(error) => {
                    tracing::warn!(program = PROGRAM, cookie, %error, "can't be taken over; attaching anew");
                }
            }
        }
        Ok(inbound)
    }

    /// Attaches to the namespaces that are new and leaves those that are no longer wanted. A namespace that fails is
    /// reported and may be tried again; the others are not held up.
    pub fn sync(&mut self, wanted: &Namespaces) -> BTreeMap<u64, InboundError> {
        let mut errors = BTreeMap::new();
        let present = match pinned(&self.pins) {
            Ok(present) => present,
            Err(error) => return [(0, error.into())].into(),
        };
        for cookie in present.into_iter().filter(|cookie| !wanted.contains_key(cookie)) {
            self.attached.remove(&cookie);
            if let Err(error) = self.pins.remove_link(&pin_name(cookie)) {
                errors.insert(cookie, error.into());
            }
        }
        for (cookie, path) in wanted {
            if self.attached.contains(cookie) {
                continue;
            }
            match self.attach(*cookie, path) {
                Ok(()) => {
                    self.attached.insert(*cookie);
                }
                // The pod ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let path = path.clone();
                    errors.insert(*cookie, InboundError::Attach { path, source });
                }
            }
        }
        errors
    }

    /// Asks the kernel what runs in the wanted namespaces, and forgets what was believed to run and does not: the next
    /// [`Self::sync`] attaches it again. What is missing, by cookie.
    pub fn verify(&mut self, wanted: &Namespaces) -> BTreeMap<u64, String> {
        let mut missing = BTreeMap::new();
        for (cookie, path) in wanted {
            let why = self
                .look(*cookie, path)
                .unwrap_or_else(|error| Some(error.to_string()));
            if let Some(why) = why {
                self.attached.remove(cookie);
                missing.insert(*cookie, format!("{PROGRAM} is not attached: {why}"));
            }
        }
        missing
    }

    /// What is wrong with the link of a namespace.
    fn look(&self, cookie: u64, path: &Path) -> io::Result<Option<String>> {
        let namespace = match File::open(path) {
            // The pod ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let info = match info(&self.pins, cookie) {
            Ok(info) => info,
            Err(error) => return Ok(Some(format!("its pinned link can't be opened: {error}"))),
        };
        let wanted = Target::Namespace {
            inode: u32::try_from(namespace.metadata()?.ino()).map_err(io::Error::other)?,
            attach_type: HOOK.attach as u32,
        };
        let LinkInfo { id, program, target } = info;
        if target != wanted {
            return Ok(Some(format!(
                "link {id} is attached to {target:?}, not to {wanted:?}"
            )));
        }
        if program != self.id {
            return Ok(Some(format!("program {program} runs in its place")));
        }
        let running = bpf::namespace_programs(namespace.as_fd(), HOOK.attach)?;
        let missing = !running.contains(&program);
        Ok(missing
            .then(|| format!("program {program} is not among those the kernel runs there: {running:?}")))
    }

    /// Attaches first, then replaces the pin: what a link that is there runs goes on until ours does.
    fn attach(&self, cookie: u64, path: &Path) -> io::Result<()> {
        let namespace = File::open(path)?;
        let link = bpf::attach_to_namespace(self.program.as_fd(), namespace.as_fd(), HOOK.attach)?;
        self.pins.replace_link(&pin_name(cookie), link.as_fd())
    }

    /// Makes a pinned link run our program from the next handshake on; `false` where its namespace is gone.
    fn take_over(&self, cookie: u64) -> io::Result<bool> {
        let link = bpf::open_pin(&self.pins.link(&pin_name(cookie)))?;
        if is_dead(bpf::link_info(link.as_fd())?.target) {
            return Ok(false);
        }
        match bpf::link_update(link.as_fd(), self.program.as_fd()) {
            // It went just now.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
            done => done.map(|()| true),
        }
    }
}

/// What is wrong with the links of these namespaces, as far as can be told without their handles: one that is missing, or
/// whose namespace is gone.
#[must_use]
pub fn faults(pins: &Pins, cookies: impl IntoIterator<Item = u64>) -> Vec<String> {
    let fault = |cookie| {
        let why = match info(pins, cookie) {
            Ok(info) if is_dead(info.target) => "its network namespace is gone".to_owned(),
            Ok(_) => return None,
            Err(error) => error.to_string(),
        };
        Some(format!("link {}: {why}", pin_name(cookie)))
    };
    cookies.into_iter().filter_map(fault).collect()
}

/// Cookies of the namespaces that a link is pinned for.
fn pinned(pins: &Pins) -> io::Result<Vec<u64>> {
    let names = pins.links()?;
    Ok(names.iter().filter_map(|name| parse_pin_name(name)).collect())
}

fn info(pins: &Pins, cookie: u64) -> io::Result<LinkInfo> {
    let link = bpf::open_pin(&pins.link(&pin_name(cookie)))?;
    bpf::link_info(link.as_fd())
}

const fn is_dead(target: Target) -> bool {
    matches!(target, Target::Namespace { inode: 0, .. })
}

fn pin_name(cookie: u64) -> String {
    format!("{PROGRAM}_{cookie}")
}

fn parse_pin_name(name: &str) -> Option<u64> {
    let cookie = name.strip_prefix(PROGRAM)?.strip_prefix('_')?;
    cookie.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_say_program_and_namespace() {
        assert_eq!(pin_name(17), "mesh_inbound_17");
        assert_eq!(parse_pin_name("mesh_inbound_17"), Some(17));
        for other in ["mesh_inbound_17_new", "mesh_inbound", "mesh_to_pod_17"] {
            assert_eq!(parse_pin_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_link_is_dead_when_its_namespace_is_gone() {
        let of = |inode| Target::Namespace {
            inode,
            attach_type: 36,
        };
        assert!(is_dead(of(0)) && !is_dead(of(7)) && !is_dead(Target::Other));
    }
}

//! Network namespaces with a handle in a directory, as `ip netns` makes them, but in ours.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use rustix::mount::mount_bind;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{mounts, sys};

/// A network namespace; it lives as long as its handle, and whoever is inside.
#[derive(Debug)]
pub struct Netns {
    handle: PathBuf,
    gone: AtomicBool,
}

impl Netns {
    /// Makes a namespace with the handle `dir/name`.
    pub fn create(dir: &Path, name: &str) -> Result<Self> {
        let handle = dir.join(name);
        File::create_new(&handle).with_context(|| format!("creating {}", handle.display()))?;
        let bind = || -> io::Result<()> {
            sys::new_network_namespace()?;
            Ok(mount_bind("/proc/thread-self/ns/net", &handle)?)
        };
        // The thread moves into the namespace by making it, so it has to be one that ends.
        let bound = thread::scope(|scope| {
            thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, bind)?
                .join()
                .unwrap_or_else(|panic| {
                    std::panic::resume_unwind(panic);
                })
        });
        if let Err(error) = bound {
            let _ = fs::remove_file(&handle);
            return Err(error).context("creating a network namespace (needs root)");
        }
        Ok(Self {
            handle,
            gone: AtomicBool::new(false),
        })
    }

    /// Path of the handle.
    pub fn handle(&self) -> &Path {
        &self.handle
    }

    /// The namespace for `setns(2)`.
    pub fn open(&self) -> io::Result<OwnedFd> {
        if self.gone.load(Ordering::Acquire) {
            let text = format!("network namespace {} was deleted", self.handle.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        File::open(&self.handle).map(OwnedFd::from)
    }

    /// Moves the calling thread inside.
    pub fn enter(&self) -> io::Result<()> {
        let fd = self.open()?;
        Ok(move_into_link_name_space(
            fd.as_fd(),
            Some(LinkNameSpaceType::Network),
        )?)
    }

    /// Gives the handle up.
    pub fn remove(&self) -> Result<()> {
        if self.gone.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        mounts::detach(&self.handle)?;
        fs::remove_file(&self.handle).with_context(|| format!("removing {}", self.handle.display()))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

//! Cgroups of the test process: directories that single threads and processes join.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{mounts, until};

/// How long the last thread of a cgroup may take to be gone after it was joined.
const EMPTY_WITHIN: Duration = Duration::from_secs(3);

/// Where the unified hierarchy is mounted; on hybrid hosts that is not `/sys/fs/cgroup`.
pub fn mount_point() -> Result<PathBuf> {
    mounts::list()?
        .into_iter()
        .find(|mount| mount.kind == "cgroup2" && mount.root == "/")
        .map(|mount| mount.point)
        .ok_or_else(|| anyhow!("no cgroup2 mount: mount -t cgroup2 none /sys/fs/cgroup"))
}

/// A threaded cgroup of ours.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// Then the path may be another's.
    removed: AtomicBool,
}

impl Cgroup {
    /// Makes the child `name` of `parent`, ready for single threads.
    pub fn threaded(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(name);
        make_threaded(&path)?;
        Ok(Self {
            path,
            removed: AtomicBool::new(false),
        })
    }

    /// Makes a path of directories below `parent`, as far as they are missing; they go with `parent`.
    pub fn threaded_path(parent: &Path, path: &str) -> Result<PathBuf> {
        let mut dir = parent.to_owned();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            dir.push(name);
            if !dir.exists() {
                make_threaded(&dir)?;
            }
        }
        Ok(dir)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling thread here; sockets it makes from now on belong here.
    pub fn join(&self) -> io::Result<()> {
        self.check()?;
        let tid = rustix::thread::gettid().as_raw_nonzero().to_string();
        fs::write(self.path.join("cgroup.threads"), tid)
    }

    /// Through this file a new process moves itself here.
    pub fn door(&self) -> io::Result<File> {
        self.check()?;
        OpenOptions::new()
            .write(true)
            .open(self.path.join("cgroup.procs"))
    }

    fn check(&self) -> io::Result<()> {
        if self.removed.load(Ordering::Acquire) {
            Err(io::ErrorKind::NotFound.into())
        } else {
            Ok(())
        }
    }

    /// Ends the processes inside (never the test process), waits for its threads, removes the directory.
    pub fn remove(&self) -> Result<()> {
        if self.removed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut problem = None;
        let removed = until(EMPTY_WITHIN, || {
            self.kill_processes();
            match remove_tree(&self.path) {
                Ok(()) => true,
                Err(error) => {
                    problem = Some(error);
                    false
                }
            }
        });
        self.removed.store(removed, Ordering::Release);
        if removed {
            return Ok(());
        }
        let threads = threads(&self.path)
            .into_iter()
            .map(describe)
            .collect::<Vec<_>>()
            .join(", ");
        bail!(
            "cgroup {} stays: {problem:?}; inside: {threads}",
            self.path.display()
        )
    }

    fn kill_processes(&self) {
        let own = rustix::process::getpid();
        for process in threads(&self.path)
            .into_iter()
            .filter_map(process_of)
            .filter(|pid| *pid != own)
        {
            // It may have ended by itself in between.
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.check().is_ok() {
            let _ = remove_tree(&self.path);
        }
    }
}

fn make_threaded(path: &Path) -> Result<()> {
    fs::create_dir(path).with_context(|| format!("creating cgroup {}", path.display()))?;
    let made = fs::write(path.join("cgroup.type"), "threaded");
    made.with_context(|| format!("making {} threaded", path.display()))
        .inspect_err(|_| drop(fs::remove_dir(path)))
}

/// All cgroups at and below `path`, children first.
pub fn tree(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let children = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found: Vec<_> = children.flat_map(|child| tree(&child.path())).collect();
    found.push(path.to_owned());
    found
}

fn remove_tree(path: &Path) -> io::Result<()> {
    tree(path).iter().try_for_each(fs::remove_dir)
}

fn threads(path: &Path) -> Vec<i32> {
    let files = tree(path).into_iter().map(|cgroup| cgroup.join("cgroup.threads"));
    let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn process_of(thread: i32) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let id = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    Pid::from_raw(id.trim().parse().ok()?)
}

fn describe(thread: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{thread}/comm")).unwrap_or_default();
    format!("{thread} ({})", name.trim())
}

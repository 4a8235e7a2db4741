//! What a process of the harness may leave: everything of it bears its process id.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{cgroups, mounts};

const RUN: &str = "/run";
/// The janitor gives up after five seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is there of a process.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers(Vec<String>);

impl Leftovers {
    /// Waits until the harness's janitor is done with `pid`, and looks.
    pub fn await_none(pid: u32) -> Result<Self> {
        let begun = Instant::now();
        loop {
            let found = Self::look(pid)?;
            if found.is_empty() || begun.elapsed() > PATIENCE {
                return Ok(found);
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Nothing is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn look(pid: u32) -> Result<Self> {
        let mounts = mounts()?;
        let cgroup = cgroups(&mounts).map(|point| point.join(owned_by(pid)));
        let mut found: Vec<_> = mounts_of(&mounts, pid)
            .map(|point| format!("mount {point}"))
            .collect();
        for directory in directories_of(Path::new(RUN), pid)? {
            found.push(format!("directory {}", directory.display()));
        }
        if let Some(cgroup) = cgroup.filter(|cgroup| cgroup.exists()) {
            found.push(format!("cgroup {}", cgroup.display()));
            found.extend(processes_in(&cgroup));
        }
        Ok(Self(found))
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

fn owned_by(pid: u32) -> String {
    format!("mesh-test-{pid}")
}

fn mounts_of(mounts: &str, pid: u32) -> impl Iterator<Item = &str> {
    let prefix = format!("{RUN}/{}-", owned_by(pid));
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(move |point| point.starts_with(&prefix))
}

fn directories_of(run: &Path, pid: u32) -> Result<Vec<PathBuf>> {
    let prefix = format!("{}-", owned_by(pid));
    let entries = fs::read_dir(run).with_context(|| run.display().to_string())?;
    let ours = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    Ok(ours.map(|entry| entry.path()).collect())
}

fn processes_in(cgroup: &Path) -> Vec<String> {
    // One that is gone meanwhile has none.
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    text.lines()
        .map(|pid| format!("process {pid} {}", name(pid).trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_by_the_process_id() {
        let mounts = "\
40 1 0:30 / /run/mesh-test-12-0 rw - tmpfs tmpfs rw
41 1 0:31 / /run/mesh-test-12-0/bpf rw - bpf bpf rw
42 1 0:32 / /run/mesh-test-123-0 rw - tmpfs tmpfs rw";
        let of = |pid| mounts_of(mounts, pid).collect::<Vec<_>>();
        assert_eq!(of(12), ["/run/mesh-test-12-0", "/run/mesh-test-12-0/bpf"]);
        assert_eq!(of(1), Vec::<&str>::new());
    }

    #[test]
    fn directories_are_told_by_the_process_id() {
        let run = tempfile::tempdir().unwrap();
        for name in ["mesh-test-12-0", "mesh-test-123-0", "other"] {
            fs::create_dir(run.path().join(name)).unwrap();
        }
        let found = directories_of(run.path(), 12).unwrap();
        assert_eq!(found, [run.path().join("mesh-test-12-0")]);
    }
}

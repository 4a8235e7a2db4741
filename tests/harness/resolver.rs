//! A view of the file system with another `/etc/resolv.conf`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use crate::janitor::{PREFIX, RUN};
use crate::{mounts, sys};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A mount namespace in which these are the name servers.
pub fn view(run_dir: &Path, servers: &[IpAddr]) -> Result<OwnedFd> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut text = String::new();
    for server in servers {
        writeln!(text, "nameserver {server}")?;
    }
    text.push_str("options timeout:1 attempts:2\n");
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = run_dir.join(format!("resolv-{number}.conf"));
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    // It may be a link, as systemd-resolved makes it.
    let target = fs::canonicalize(RESOLV_CONF).with_context(|| format!("finding {RESOLV_CONF}"))?;
    let run_dir = run_dir.to_owned();
    let thread = thread::Builder::new()
        .name("resolver".into())
        .spawn(move || make(&run_dir, &file, &target))?;
    thread
        .join()
        .map_err(|_| anyhow!("the resolver thread panicked"))?
}

/// Runs in a thread of its own, which leaves the host's mount namespace for good.
fn make(run_dir: &Path, file: &Path, target: &Path) -> Result<OwnedFd> {
    let result = || -> Result<OwnedFd> {
        sys::new_mount_namespace()?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        for stranger in other_sandboxes(run_dir)? {
            // A copy of another sandbox's mounts would keep its pins alive; it may be going right now.
            let _ = mounts::detach(&stranger);
        }
        mount_bind(file, target)?;
        Ok(File::open("/proc/thread-self/ns/mnt")?.into())
    };
    result().context("making a mount namespace with another resolv.conf")
}

fn other_sandboxes(own: &Path) -> Result<Vec<PathBuf>> {
    let is_run_dir = |point: &Path| {
        let name = point.file_name().unwrap_or_default().to_string_lossy();
        point.parent() == Some(Path::new(RUN)) && name.starts_with(PREFIX) && point != own
    };
    Ok(mounts::list()?
        .into_iter()
        .map(|mount| mount.point)
        .filter(|point| is_run_dir(point))
        .collect())
}

//! The calls that the compiler cannot check.
#![allow(
    unsafe_code,
    reason = "unshare, pre_exec and one socket option have no safe form"
)]

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// Gives the calling thread a new network namespace.
pub fn new_network_namespace() -> io::Result<()> {
    unshare(UnshareFlags::NEWNET)
}

/// Gives the calling thread a copy of the mount namespace, and so a working directory of its own.
pub fn new_mount_namespace() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS | UnshareFlags::FS)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the table of file descriptors stays shared (no `FILES`), so no `OwnedFd` loses its meaning.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// What a new process enters before it becomes its program.
#[derive(Debug, Default)]
pub struct Entrance {
    /// Network namespace.
    pub network: Option<OwnedFd>,
    /// Mount namespace.
    pub mounts: Option<OwnedFd>,
    /// `cgroup.procs` of the cgroup, open for writing.
    pub cgroup: Option<std::fs::File>,
}

impl Entrance {
    /// Makes `command` pass through the entrance, and die when the thread that spawns it dies.
    pub fn guard(self, command: &mut Command) {
        let parent = getpid();
        let enter = move || self.pass(parent);
        // SAFETY: between fork and exec `pass` only makes system calls on what it owns; it neither
        // allocates nor takes a lock.
        unsafe { command.pre_exec(enter) };
    }

    fn pass(&self, parent: Pid) -> io::Result<()> {
        if let Some(network) = &self.network {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        if let Some(mounts) = &self.mounts {
            move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
        }
        if let Some(mut cgroup) = self.cgroup.as_ref() {
            cgroup.write_all(b"0")?;
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
}

/// The cookie by which the kernel's programs know the network namespace of the calling thread.
pub fn netns_cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).unwrap_or_default();
    // SAFETY: `cookie` and `length` live through the call and `length` is the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

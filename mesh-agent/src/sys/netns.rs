//! Network namespaces: entering one on a thread of its own, and asking its cookie; where the host's interfaces are.

use std::{
    fs::File,
    io,
    mem::size_of_val,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    net::{AddressFamily, SocketType},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use thiserror::Error;

use super::privilege;

/// Why the host's network namespace can't be had.
#[derive(Debug, Error)]
#[error(
    "the host's network namespace {path} can't be entered: {source}; name a handle of it with --host-netns (that of \
     process 1, /proc/1/ns/net, needs CAP_SYS_PTRACE)"
)]
pub struct HostError {
    path: PathBuf,
    source: io::Error,
}

/// The network namespace where the other ends of the pods' interfaces are: the agent's own, or that of the host
/// where the agent has one for itself. Whatever lists interfaces or attaches to them does it in there, since the
/// kernel looks an interface's index up in the namespace of the calling thread.
#[derive(Clone, Debug)]
pub struct Host {
    /// A handle, unless it is the agent's own.
    netns: Option<Arc<File>>,
    /// Cookies of the namespaces that are no pod's: the host's and the agent's own.
    reserved: [u64; 2],
}

impl Host {
    /// Opens the namespace behind a handle, or takes the agent's own.
    ///
    /// # Errors
    /// Where it can't be opened or entered, or the kernel does not tell cookies.
    pub fn open(handle: Option<&Path>) -> Result<Self, HostError> {
        let failed = |source| HostError {
            path: handle.unwrap_or(Path::new("/proc/self/ns/net")).to_path_buf(),
            source,
        };
        let netns = handle.map(File::open).transpose().map_err(failed)?.map(Arc::new);
        let own = own_cookie().map_err(failed)?;
        let mut host = Self {
            netns,
            reserved: [own; 2],
        };
        host.reserved[1] = host.run(own_cookie).map_err(failed)?;
        Ok(host)
    }

    /// Runs `act` in the namespace, see [`run_in`].
    ///
    /// # Errors
    /// The kernel's, and whatever `act` gives.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match &self.netns {
            Some(netns) => run_in(netns, act),
            None => act(),
        }
    }

    /// Cookie of the host's namespace.
    #[must_use]
    pub const fn cookie(&self) -> u64 {
        self.reserved[1]
    }

    /// Whether a cookie is that of the host's namespace or of the agent's own, which are never a pod's.
    #[must_use]
    pub fn is_reserved(&self, cookie: u64) -> bool {
        self.reserved.contains(&cookie)
    }
}

/// Cookie of the network namespace of the calling thread.
///
/// # Errors
/// See [`cookie_of`].
pub fn own_cookie() -> io::Result<u64> {
    // Any socket will do.
    cookie_of(rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?)
}

/// Runs `act` on a new thread inside a network namespace; the thread ends with it, so that no thread of the
/// agent ever stays in a pod.
///
/// # Errors
/// EPERM without `CAP_SYS_ADMIN`, EINVAL where the descriptor is no network namespace, and whatever `act` gives.
pub fn run_in<T: Send>(netns: impl AsFd + Sync, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    privilege::with_all(|| {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        act()
    })
}

/// Cookie of the network namespace a socket lives in: unique while the system is up, never used again
/// (`SO_NETNS_COOKIE`, kernel 5.14 and newer).
///
/// # Errors
/// ENOPROTOOPT on older kernels.
pub fn cookie_of(socket: impl AsFd) -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of_val(&cookie)).map_err(io::Error::other)?;
    // SAFETY: both pointers name locals that live across the call, and `len` is the size of the first.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if answer == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_handle_it_is_the_agents_own() {
        let host = Host::open(None).unwrap();
        let here = std::thread::current().id();
        assert_eq!(host.run(|| Ok(std::thread::current().id())).unwrap(), here);
        assert!(host.is_reserved(own_cookie().unwrap()));
        assert!(!host.is_reserved(0));
    }

    #[test]
    fn a_file_that_is_no_handle_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path(), Path::new("/nonexistent")] {
            let error = Host::open(Some(path)).unwrap_err().to_string();
            assert!(
                error.contains(path.to_str().unwrap()) && error.contains("--host-netns"),
                "{error}"
            );
        }
    }
}

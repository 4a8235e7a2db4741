//! Network namespaces: entering one on a thread of its own, and asking its cookie.

use std::{
    io,
    mem::size_of_val,
    os::fd::{AsFd, AsRawFd},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `act` on a new thread inside a network namespace; the thread ends with it, so that no thread of the
/// agent ever stays in a pod.
///
/// # Errors
/// EPERM without `CAP_SYS_ADMIN`, EINVAL where the descriptor is no network namespace, and whatever `act` gives.
pub fn run_in<T: Send>(netns: impl AsFd + Sync, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
            act()
        });
        entered
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the network namespace panicked")))
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

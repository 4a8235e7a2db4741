//! Socket options and calls that no crate of ours wraps.
#![allow(unsafe_code, reason = "setsockopt(2), splice(2) and pipe(2) by hand")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::null_mut;

/// Sets an option that is a number.
pub fn set(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set_bytes(socket, level, name, &value.to_ne_bytes())
}

/// Sets an option.
pub fn set_bytes(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open and `value` has `len` bytes.
    let done = unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), len) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A pipe: the end to read and the end to write.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just opened it for us.
    let read = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let write = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((read, write))
}

/// Moves at most `len` bytes from a socket into a pipe, without waiting.
pub fn splice(from: &impl AsFd, into: &impl AsFd, len: usize) -> io::Result<usize> {
    let (from, into) = (from.as_fd().as_raw_fd(), into.as_fd().as_raw_fd());
    // SAFETY: both descriptors are open; neither has an offset.
    let moved = unsafe { libc::splice(from, null_mut(), into, null_mut(), len, libc::SPLICE_F_NONBLOCK) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

//! Socket options and calls that no crate of ours wraps.
#![allow(
    unsafe_code,
    reason = "getsockopt(2), setsockopt(2), splice(2) and pipe(2) by hand"
)]

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

/// Bytes that came to a socket by TCP: `tcpi_bytes_received` (`struct tcp_info` in `linux/tcp.h`).
pub fn received_by_tcp(socket: &impl AsFd) -> io::Result<u64> {
    const OFFSET: usize = 128;
    let mut info = [0_u8; OFFSET + size_of::<u64>()];
    let mut len = libc::socklen_t::try_from(info.len()).map_err(io::Error::other)?;
    let (fd, level) = (socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP);
    // SAFETY: the descriptor is open and `info` has `len` bytes.
    let done = unsafe { libc::getsockopt(fd, level, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let field = info[OFFSET..].try_into().map_err(io::Error::other)?;
    Ok(u64::from_ne_bytes(field))
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

//! `connect()` by `io_uring`, without its library: a ring of one entry.
#![allow(unsafe_code, reason = "the rings are memory shared with the kernel")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::null_mut;

use socket2::{SockAddr, Socket};

const OP_CONNECT: u8 = 16;
const ENTER_GETEVENTS: libc::c_uint = 1;
const OFF_SQ_RING: libc::off_t = 0;
const OFF_CQ_RING: libc::off_t = 0x800_0000;
const OFF_SQES: libc::off_t = 0x1000_0000;
const SIZE_OF_SQE: usize = 64;
const SIZE_OF_CQE: u32 = 16;

/// `struct io_uring_params`, in words of 32 bits: `sq_off` begins at 10, `cq_off` at 20.
type Parameters = [u32; 30];

/// A mapping of a ring, while it lives.
struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    fn new(ring: &OwnedFd, offset: libc::off_t, length: usize) -> io::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
        );
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { libc::mmap(null_mut(), length, protection, flags, ring.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            length,
        })
    }

    fn word(&self, at: u32) -> u32 {
        let at = at as usize;
        assert!(at + 4 <= self.length, "{at} is not in the ring");
        let mut bytes = [0; 4];
        // SAFETY: within the mapping; the kernel writes it in a system call that is over.
        unsafe { std::ptr::copy_nonoverlapping(self.start.wrapping_add(at), bytes.as_mut_ptr(), 4) };
        u32::from_ne_bytes(bytes)
    }

    fn set(&self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        assert!(at + bytes.len() <= self.length, "{at} is not in the ring");
        // SAFETY: within the mapping; the kernel reads it in the system call that follows.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.wrapping_add(at), bytes.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

fn setup(parameters: &mut Parameters) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads and writes the parameters, which have its size.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the kernel gives rings, in words if it does not.
pub fn available() -> Result<(), String> {
    let ring = setup(&mut [0; 30]);
    ring.map(drop).map_err(|error| format!("io_uring: {error}"))
}

/// Connects a blocking socket.
pub fn connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    let mut parameters = [0; 30];
    let ring = setup(&mut parameters)?;
    let (sq, cq) = (&parameters[10..], &parameters[20..]);
    // After the array of indices, and after the entries.
    let submissions = Mapping::new(&ring, OFF_SQ_RING, (sq[6] + 4 * parameters[0]) as usize)?;
    let completions = Mapping::new(&ring, OFF_CQ_RING, (cq[5] + SIZE_OF_CQE * parameters[1]) as usize)?;
    let entries = Mapping::new(&ring, OFF_SQES, SIZE_OF_SQE * parameters[0] as usize)?;

    let addr = SockAddr::from(to);
    let mut entry = [0; SIZE_OF_SQE];
    entry[0] = OP_CONNECT;
    entry[4..8].copy_from_slice(&socket.as_raw_fd().to_ne_bytes());
    entry[8..16].copy_from_slice(&u64::from(addr.len()).to_ne_bytes());
    entry[16..24].copy_from_slice(&(addr.as_ptr().expose_provenance() as u64).to_ne_bytes());
    entries.set(0, &entry);
    let tail = submissions.word(sq[1]);
    submissions.set(sq[6], &0_u32.to_ne_bytes());
    submissions.set(sq[1], &(tail + 1).to_ne_bytes());
    // SAFETY: the entry names an open socket and an address that lives until the call is over.
    let done = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            ring.as_raw_fd(),
            1,
            1,
            ENTER_GETEVENTS,
            null_mut::<u8>(),
            0,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    let at = cq[5] + SIZE_OF_CQE * (completions.word(cq[0]) & completions.word(cq[2]));
    match completions.word(at + 8).cast_signed() {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

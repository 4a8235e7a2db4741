//! Programs of others beside the mesh's.
#![allow(
    unsafe_code,
    reason = "bpf(2) by hand: the smallest program there is, without a loader"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context as _, Result};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_CONNECT: u32 = 10;

/// What the program says of each `connect()`.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// It is not permitted.
    Deny,
    /// It goes on as it is.
    Allow,
}

impl Verdict {
    /// `r0 = 0; exit`, or `r0 = 1; exit`.
    const fn instructions(self) -> [u64; 2] {
        match self {
            Self::Deny => [0xb7, 0x95],
            Self::Allow => [0x1_0000_00b7, 0x95],
        }
    }
}

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

/// The beginning of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: RawFd,
    target: RawFd,
    attach_type: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let (pointer, size) = (std::ptr::from_ref(attributes), size_of::<T>());
    // SAFETY: the kernel reads `size` bytes of `attributes`, and what they point to lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program of that name, of which the kernel keeps 15 letters, to `connect()` over IPv4 in a cgroup, until the
/// link is dropped.
pub fn connect4(cgroup: &Path, name: &str, verdict: Verdict) -> Result<OwnedFd> {
    let license = c"GPL";
    let instructions = verdict.instructions();
    let mut short = [0; 16];
    for (byte, letter) in short[..15].iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        instruction_count: 2,
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
        name: short,
        expected_attach_type: BPF_CGROUP_INET4_CONNECT,
        ..Load::default()
    };
    let program = bpf(BPF_PROG_LOAD, &load).context("loading")?;
    let cgroup = File::open(cgroup)?;
    let (program_fd, target) = (program.as_raw_fd(), cgroup.as_raw_fd());
    let link = Link {
        program: program_fd,
        target,
        attach_type: BPF_CGROUP_INET4_CONNECT,
        flags: 0,
    };
    bpf(BPF_LINK_CREATE, &link).context("attaching")
}

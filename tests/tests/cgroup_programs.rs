//! What the harness rests on: a cgroup program runs for the sockets of the threads and processes that
//! stand in its cgroup, threaded as that is, and for no others of the same test process.
#![allow(
    unsafe_code,
    reason = "bpf(2) by hand: the smallest program there is, without a loader"
)]

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use harness::{Pod, Sandbox, require_root};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_CONNECT: u32 = 10;

/// `r0 = 0; exit`: `connect()` is not permitted.
const DENY: [u64; 2] = [0xb7, 0x95];

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

/// Forbids `connect()` to all in a cgroup, until the link is dropped.
fn forbid(cgroup: &Path) -> Result<OwnedFd> {
    let license = c"GPL";
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        instruction_count: 2,
        instructions: DENY.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
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

/// What `connect()` to a closed port says: refused if it got through.
fn knock() -> ErrorKind {
    let closed = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
    TcpStream::connect(closed).expect_err("a closed port").kind()
}

const FORBIDDEN: ErrorKind = ErrorKind::PermissionDenied;
const THROUGH: ErrorKind = ErrorKind::ConnectionRefused;

fn knock_by_process(pod: &Pod) -> Result<bool> {
    let output = pod
        .command("bash")
        .args(["-c", "exec 3<>/dev/tcp/127.0.0.1/9"])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stderr).contains("not permitted"))
}

#[test]
fn programs_run_for_whom_they_should() -> Result<()> {
    require_root!();
    let (sandbox, other) = (Sandbox::new("programs")?, Sandbox::new("others")?);
    let pods = [
        sandbox.pod("a", &["10.0.1.2"])?,
        sandbox.pod("b", &["10.0.1.3"])?,
        other.pod("c", &["10.0.1.4"])?,
    ];
    let knocks = || pods.each_ref().map(|pod| pod.run(knock));
    assert_eq!(knocks(), [THROUGH; 3]);

    let of_sandbox = forbid(sandbox.cgroup())?;
    assert_eq!(knocks(), [FORBIDDEN, FORBIDDEN, THROUGH]);
    assert_eq!(sandbox.outside_pod().run(knock), FORBIDDEN);
    assert_eq!(
        [
            pods[0].unenrolled().run(knock),
            sandbox.node().run(knock),
            knock()
        ],
        [THROUGH; 3]
    );
    let grandchild = pods[0].run(|| std::thread::scope(|scope| scope.spawn(knock).join().ok()));
    assert_eq!(grandchild, Some(FORBIDDEN), "a thread started inside");
    if harness::require::program("bash").is_ok() {
        assert!(knock_by_process(&pods[0])? && !knock_by_process(&pods[2])?);
    }
    drop(of_sandbox);
    assert_eq!(knocks(), [THROUGH; 3]);

    let _of_pod = forbid(pods[0].place().cgroup().context("a cgroup")?)?;
    assert_eq!(knocks(), [FORBIDDEN, THROUGH, THROUGH]);
    Ok(())
}

#[test]
fn sockets_stay_where_they_were_made() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("stay")?;
    let pod = sandbox.pod("a", &["10.0.1.2"])?;
    let _link = forbid(sandbox.cgroup())?;
    let make = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let closed: socket2::SockAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9).into();
    let (inside, outside) = (pod.run(make)?, pod.unenrolled().run(make)?);
    // Connected by a thread elsewhere.
    assert_eq!(
        inside.connect(&closed).map_err(|error| error.kind()),
        Err(FORBIDDEN)
    );
    assert_eq!(
        pod.run(|| outside.connect(&closed)).map_err(|error| error.kind()),
        Err(THROUGH)
    );
    Ok(())
}

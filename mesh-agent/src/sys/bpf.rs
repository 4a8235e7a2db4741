//! The commands of `bpf(2)` that aya 0.14 lacks: links of cgroup programs that can be pinned, adopted and
//! updated in place, and the question what really runs.
//!
//! Layouts are those of `union bpf_attr` in `include/uapi/linux/bpf.h`; the kernel takes a shorter attribute
//! as one whose tail is zero.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::raw::Data;

/// `enum bpf_attach_type`, as far as it is used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum AttachType {
    /// `BPF_CGROUP_SOCK_OPS`.
    SockOps = 3,
    /// `BPF_SK_SKB_STREAM_VERDICT`.
    StreamVerdict = 5,
    /// `BPF_SK_MSG_VERDICT`.
    SkMsg = 7,
    /// `BPF_CGROUP_INET4_CONNECT`.
    Connect4 = 10,
    /// `BPF_CGROUP_INET6_CONNECT`.
    Connect6 = 11,
    /// `BPF_CGROUP_UDP4_SENDMSG`.
    Sendmsg4 = 14,
    /// `BPF_CGROUP_UDP6_SENDMSG`.
    Sendmsg6 = 15,
    /// `BPF_CGROUP_UDP4_RECVMSG`.
    Recvmsg4 = 19,
    /// `BPF_CGROUP_UDP6_RECVMSG`.
    Recvmsg6 = 20,
    /// `BPF_CGROUP_INET4_GETPEERNAME`.
    Peername4 = 29,
    /// `BPF_CGROUP_INET6_GETPEERNAME`.
    Peername6 = 30,
    /// `BPF_SK_LOOKUP`.
    SkLookup = 36,
    /// `BPF_TCX_INGRESS`.
    TcxIngress = 46,
    /// `BPF_TCX_EGRESS`.
    TcxEgress = 47,
}

const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const MAP_LOOKUP_AND_DELETE: u32 = 21;
const ITER_CREATE: u32 = 33;
const QUERY_EFFECTIVE: u32 = 1;
const LINK_TYPE_CGROUP: u32 = 3;
const LINK_TYPE_NETNS: u32 = 5;
const LINK_TYPE_TCX: u32 = 11;

/// What a link says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkInfo {
    /// Link id.
    pub id: u32,
    /// Id of the program it runs now.
    pub program: u32,
    /// What it is attached to.
    pub target: Target,
}

/// What a link is attached to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// A cgroup.
    Cgroup {
        /// Its id; 0 once it is gone.
        id: u64,
        /// Attach type, as a number.
        attach_type: u32,
    },
    /// An interface.
    Interface {
        /// Its index; 0 once it is gone.
        ifindex: u32,
        /// Attach type, as a number.
        attach_type: u32,
    },
    /// A network namespace.
    Namespace {
        /// Inode number of its handles; 0 once it is gone.
        inode: u32,
        /// Attach type, as a number.
        attach_type: u32,
    },
    /// Something else.
    Other,
}

/// Attaches a program to a cgroup by a link, beside other tools' programs.
///
/// # Errors
/// The kernel's: EPERM without the capabilities or under an exclusive attachment above, EINVAL for another
/// program type.
pub fn attach_to_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach: AttachType,
) -> io::Result<OwnedFd> {
    link_create(program, cgroup.as_raw_fd(), attach)
}

/// Attaches a program to an interface of the current network namespace by a link, behind other tools'
/// programs (tcx, kernel 6.6 and newer).
///
/// # Errors
/// The kernel's: ENODEV where the interface is gone, EINVAL where the kernel has no tcx.
pub fn attach_to_interface(program: BorrowedFd<'_>, ifindex: u32, attach: AttachType) -> io::Result<OwnedFd> {
    link_create(program, i32::try_from(ifindex).map_err(io::Error::other)?, attach)
}

/// Attaches a program to a network namespace by a link, beside other tools' programs. The namespace need not be entered.
///
/// # Errors
/// The kernel's: EPERM without `CAP_NET_ADMIN`, EINVAL where the descriptor is no network namespace, E2BIG behind 64
/// programs.
pub fn attach_to_namespace(
    program: BorrowedFd<'_>,
    netns: BorrowedFd<'_>,
    attach: AttachType,
) -> io::Result<OwnedFd> {
    link_create(program, netns.as_raw_fd(), attach)
}

/// Makes every socket that enters a map of sockets from now on run a program, in place of the map's former
/// one; sockets that are in the map keep theirs. It stays when this process ends.
///
/// # Errors
/// The kernel's: EINVAL for another kind of map or program.
pub fn attach_to_sockets(program: BorrowedFd<'_>, map: BorrowedFd<'_>, attach: AttachType) -> io::Result<()> {
    call(PROG_ATTACH, &SocketsAttr::new(program, map, attach)).map(drop)
}

/// Makes sockets that enter a map of sockets from now on run no program of this type.
///
/// # Errors
/// The kernel's: ENOENT where there is none.
pub fn detach_from_sockets(
    program: BorrowedFd<'_>,
    map: BorrowedFd<'_>,
    attach: AttachType,
) -> io::Result<()> {
    call(PROG_DETACH, &SocketsAttr::new(program, map, attach)).map(drop)
}

#[derive(Immutable, IntoBytes)]
#[repr(C)]
struct SocketsAttr {
    target_fd: i32,
    prog_fd: i32,
    attach_type: u32,
    flags: u32,
}

impl SocketsAttr {
    fn new(program: BorrowedFd<'_>, map: BorrowedFd<'_>, attach: AttachType) -> Self {
        Self {
            target_fd: map.as_raw_fd(),
            prog_fd: program.as_raw_fd(),
            attach_type: attach as u32,
            flags: 0,
        }
    }
}

fn link_create(program: BorrowedFd<'_>, target: i32, attach: AttachType) -> io::Result<OwnedFd> {
    #[derive(Immutable, IntoBytes)]
    #[repr(C)]
    struct Attr {
        prog_fd: i32,
        target: i32,
        attach_type: u32,
        flags: u32,
    }
    let attr = Attr {
        prog_fd: program.as_raw_fd(),
        target,
        attach_type: attach as u32,
        flags: 0,
    };
    new_fd(LINK_CREATE, &attr)
}

/// Makes an iterator over a map; pinned, it can be read like a file.
///
/// # Errors
/// The kernel's: EPERM without `CAP_PERFMON`, EINVAL for another kind of map.
pub fn map_iterator(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// `BPF_TRACE_ITER`.
    const TRACE_ITER: u32 = 28;
    #[derive(Immutable, IntoBytes)]
    #[repr(C)]
    struct Attr {
        prog_fd: i32,
        target_fd: i32,
        attach_type: u32,
        flags: u32,
        iter_info: u64,
        iter_info_len: u32,
        padding: u32,
    }
    let info = map.as_raw_fd();
    let attr = Attr {
        prog_fd: program.as_raw_fd(),
        target_fd: 0,
        attach_type: TRACE_ITER,
        flags: 0,
        iter_info: (&raw const info).expose_provenance() as u64,
        iter_info_len: 4,
        padding: 0,
    };
    new_fd(LINK_CREATE, &attr)
}

/// Takes an entry out of a hash map, in one step: nobody can change the value after it was read (kernel 5.14 and newer).
/// `None` where there is no such entry.
///
/// # Errors
/// The kernel's; EINVAL where key or value is not as long as the map's.
pub fn take<K: Data, V: Data>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    #[derive(FromBytes, Immutable, IntoBytes)]
    #[repr(C)]
    struct Attr {
        map_fd: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let MapInfo {
        key: keys,
        value: values,
        ..
    } = info_by_fd(map)?;
    if (keys as usize, values as usize) != (size_of::<K>(), size_of::<V>()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut value = V::new_zeroed();
    let mut attr = Attr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: std::ptr::from_ref(key).expose_provenance() as u64,
        value: (&raw mut value).expose_provenance() as u64,
        flags: 0,
    };
    // SAFETY: both pointers name objects that live across the call and are as long as the map's keys and values; a
    // value may hold any bytes.
    let taken = unsafe { call_mut(MAP_LOOKUP_AND_DELETE, &mut attr) };
    match taken {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The start of `struct bpf_map_info`.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct MapInfo {
    kind: u32,
    id: u32,
    key: u32,
    value: u32,
}

/// Opens an iterator's output, to be read once.
///
/// # Errors
/// The kernel's.
pub fn iterate(link: BorrowedFd<'_>) -> io::Result<File> {
    #[derive(Immutable, IntoBytes)]
    #[repr(C)]
    struct Attr {
        link_fd: i32,
        flags: u32,
    }
    let attr = Attr {
        link_fd: link.as_raw_fd(),
        flags: 0,
    };
    new_fd(ITER_CREATE, &attr).map(File::from)
}

/// Makes a link run another program from its next event on, without a gap.
///
/// # Errors
/// The kernel's: ENOLINK when the cgroup or namespace of the link is gone.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[derive(Immutable, IntoBytes)]
    #[repr(C)]
    struct Attr {
        link_fd: i32,
        new_prog_fd: i32,
        flags: u32,
        old_prog_fd: u32,
    }
    let attr = Attr {
        link_fd: link.as_raw_fd(),
        new_prog_fd: program.as_raw_fd(),
        flags: 0,
        old_prog_fd: 0,
    };
    call(LINK_UPDATE, &attr).map(drop)
}

/// Asks a link about itself.
///
/// # Errors
/// The kernel's.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    /// The part of `struct bpf_link_info` that links of cgroups, namespaces and interfaces fill.
    #[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
    #[repr(C)]
    struct Info {
        link_type: u32,
        id: u32,
        prog_id: u32,
        reserved: u32,
        detail: [u32; 4],
    }
    let Info {
        link_type,
        id,
        prog_id: program,
        detail,
        ..
    } = info_by_fd(link)?;
    let target = match link_type {
        LINK_TYPE_CGROUP => Target::Cgroup {
            id: zerocopy::transmute!([detail[0], detail[1]]),
            attach_type: detail[2],
        },
        LINK_TYPE_NETNS => Target::Namespace {
            inode: detail[0],
            attach_type: detail[1],
        },
        LINK_TYPE_TCX => Target::Interface {
            ifindex: detail[0],
            attach_type: detail[1],
        },
        _ => Target::Other,
    };
    Ok(LinkInfo { id, program, target })
}

/// Ids of the programs that run for sockets of a cgroup, in order, wherever they are attached.
///
/// # Errors
/// The kernel's.
pub fn effective_programs(cgroup: BorrowedFd<'_>, attach: AttachType) -> io::Result<Vec<u32>> {
    query(cgroup.as_raw_fd(), attach, QUERY_EFFECTIVE)
}

/// Ids of the programs that tcx runs at an interface of the current network namespace, in order.
///
/// # Errors
/// The kernel's: ENODEV where the interface is gone, EINVAL where the kernel has no tcx.
pub fn interface_programs(ifindex: u32, attach: AttachType) -> io::Result<Vec<u32>> {
    query(i32::try_from(ifindex).map_err(io::Error::other)?, attach, 0)
}

/// Ids of the programs that run in a network namespace, in order.
///
/// # Errors
/// The kernel's: EINVAL where the descriptor is no network namespace.
pub fn namespace_programs(netns: BorrowedFd<'_>, attach: AttachType) -> io::Result<Vec<u32>> {
    query(netns.as_raw_fd(), attach, 0)
}

fn query(target: i32, attach: AttachType, query_flags: u32) -> io::Result<Vec<u32>> {
    /// Most programs the kernel lets a hook have (`BPF_CGROUP_MAX_PROGS`, `BPF_MPROG_MAX`).
    const MAX: usize = 64;
    #[derive(FromBytes, Immutable, IntoBytes)]
    #[repr(C)]
    struct Attr {
        target: i32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    let mut ids = [0_u32; MAX];
    let mut attr = Attr {
        target,
        attach_type: attach as u32,
        query_flags,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: 64,
        padding: 0,
    };
    // SAFETY: `prog_ids` points to `MAX` integers that live across the call, as `prog_cnt` says.
    unsafe { call_mut(PROG_QUERY, &mut attr) }?;
    Ok(ids[..MAX.min(attr.prog_cnt as usize)].to_vec())
}

/// Whether the kernel makes links of programs to interfaces (tcx, 6.6 and newer): asked for one to an interface
/// that nobody can have, a kernel that knows tcx misses the interface, one that does not refuses the question.
///
/// # Errors
/// Any other answer, e.g. EPERM.
pub fn has_tcx(program: BorrowedFd<'_>) -> io::Result<bool> {
    match link_create(program, i32::MAX, AttachType::TcxIngress) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENODEV) => Ok(true),
            Some(libc::EINVAL) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Id of a program.
///
/// # Errors
/// The kernel's.
pub fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // The beginning of `struct bpf_prog_info`: type, id.
    let [_, id]: [u32; 2] = info_by_fd(program)?;
    Ok(id)
}

/// Name of a program, of which the kernel keeps 15 letters.
///
/// # Errors
/// The kernel's: ENOENT where there is no such program, EPERM without `CAP_SYS_ADMIN`.
pub fn program_name(id: u32) -> io::Result<String> {
    /// The beginning of `struct bpf_prog_info`. The kernel reads lengths of buffers in it, which are zero.
    #[derive(FromBytes, Immutable, IntoBytes)]
    #[repr(C)]
    struct Info {
        before: [u64; 8],
        name: [u8; 16],
    }
    let program = new_fd(PROG_GET_FD_BY_ID, &id)?;
    let Info { name, .. } = info_by_fd(program.as_fd())?;
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Pins an object under a path of a BPF filesystem.
///
/// # Errors
/// The kernel's: EEXIST, EPERM, or EINVAL where the path lies in another filesystem.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    with_path(path, |pathname| {
        call(
            OBJ_PIN,
            &PathAttr {
                pathname,
                bpf_fd: object.as_raw_fd(),
                file_flags: 0,
            },
        )
        .map(drop)
    })
}

/// Opens a pinned object.
///
/// # Errors
/// The kernel's: ENOENT, EPERM, EACCES.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    with_path(path, |pathname| {
        new_fd(
            OBJ_GET,
            &PathAttr {
                pathname,
                bpf_fd: 0,
                file_flags: 0,
            },
        )
    })
}

#[derive(Immutable, IntoBytes)]
#[repr(C)]
struct PathAttr {
    pathname: u64,
    bpf_fd: i32,
    file_flags: u32,
}

fn with_path<T>(path: &Path, act: impl FnOnce(u64) -> io::Result<T>) -> io::Result<T> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    act(path.as_ptr().expose_provenance() as u64)
}

fn info_by_fd<T: FromZeros + FromBytes + IntoBytes + Immutable>(object: BorrowedFd<'_>) -> io::Result<T> {
    #[derive(FromBytes, Immutable, IntoBytes)]
    #[repr(C)]
    struct Attr {
        bpf_fd: i32,
        info_len: u32,
        info: u64,
    }
    let mut info = T::new_zeroed();
    let mut attr = Attr {
        bpf_fd: object.as_raw_fd(),
        info_len: u32::try_from(size_of::<T>()).map_err(io::Error::other)?,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: `info` points to `info_len` bytes that live across the call and may hold any value.
    unsafe { call_mut(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

fn new_fd<T: IntoBytes + Immutable>(command: u32, attr: &T) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: the commands that come here answer with a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T: IntoBytes + Immutable>(command: u32, attr: &T) -> io::Result<i32> {
    let bytes = attr.as_bytes();
    // SAFETY: the attribute is read within its length; pointers inside it were made from live objects by
    // the callers in this file and are read within the call only.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_ptr(), bytes.len()) };
    check(answer)
}

/// # Safety
/// Memory that the attribute points to must live across the call and be writable where the kernel writes.
unsafe fn call_mut<T: FromBytes + IntoBytes + Immutable>(command: u32, attr: &mut T) -> io::Result<i32> {
    let bytes = attr.as_mut_bytes();
    // SAFETY: the attribute is written within its length and may hold any value; the rest is the caller's word.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_mut_ptr(), bytes.len()) };
    check(answer)
}

fn check(answer: libc::c_long) -> io::Result<i32> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        i32::try_from(answer).map_err(io::Error::other)
    }
}

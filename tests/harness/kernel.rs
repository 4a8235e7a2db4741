//! What the kernel says of pinned objects and of a cgroup's programs: a second opinion beside the agent's.
#![allow(unsafe_code, reason = "bpf(2) has no safe form")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;

/// The hooks of a cgroup that the mesh uses (`enum bpf_attach_type`): socket operations, and connect,
/// sendmsg, recvmsg and getpeername of both families.
pub const HOOKS: [u32; 9] = [3, 10, 11, 14, 15, 19, 20, 29, 30];

/// A pinned map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapInfo {
    /// Its id, never used twice while the system is up.
    pub id: u32,
    /// Entries it can have.
    pub max_entries: u32,
}

/// A pinned link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkInfo {
    /// Its id, never used twice while the system is up.
    pub id: u32,
    /// Id of the program it runs.
    pub program: u32,
    /// Id of the cgroup it is attached to: 0 where that is gone, `None` where it is no link of a cgroup.
    pub cgroup: Option<u64>,
}

/// Asks a pinned map about itself.
pub fn map(pin: &Path) -> io::Result<MapInfo> {
    // type, id, key_size, value_size, max_entries
    let [_, id, _, _, max_entries]: [u32; 5] = info(pin)?;
    Ok(MapInfo { id, max_entries })
}

/// Asks a pinned link about itself.
pub fn link(pin: &Path) -> io::Result<LinkInfo> {
    /// `BPF_LINK_TYPE_CGROUP`.
    const CGROUP: u32 = 3;
    // type, id, prog_id, padding, cgroup_id (two words), attach_type, padding
    let [kind, id, program, _, low, high, _, _]: [u32; 8] = info(pin)?;
    let word = if cfg!(target_endian = "little") {
        u64::from(high) << 32 | u64::from(low)
    } else {
        u64::from(low) << 32 | u64::from(high)
    };
    Ok(LinkInfo {
        id,
        program,
        cgroup: (kind == CGROUP).then_some(word),
    })
}

/// How many entries a pinned hash map has.
pub fn entries(pin: &Path) -> io::Result<usize> {
    Ok(Table::open(pin)?.keys()?.len())
}

/// A pinned map, to look entries up.
#[derive(Debug)]
pub struct Table {
    descriptor: OwnedFd,
    key_size: u32,
    value_size: u32,
}

impl Table {
    /// Opens the pin.
    pub fn open(pin: &Path) -> io::Result<Self> {
        let [_, _, key_size, value_size]: [u32; 4] = info(pin)?;
        Ok(Self {
            descriptor: open(pin)?,
            key_size,
            value_size,
        })
    }

    /// All keys of a hash map that does not change meanwhile.
    pub fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        #[repr(C)]
        struct Attributes {
            map: u32,
            padding: u32,
            key: u64,
            next: u64,
        }
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut next = vec![0_u8; self.key_size as usize];
            let last = keys.last();
            let mut attributes = Attributes {
                map: self.descriptor.as_raw_fd().unsigned_abs(),
                padding: 0,
                key: last.map_or(0, |key| key.as_ptr().expose_provenance() as u64),
                next: next.as_mut_ptr().expose_provenance() as u64,
            };
            match bpf(MAP_GET_NEXT_KEY, &mut attributes) {
                Ok(_) => keys.push(next),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
                Err(error) => return Err(error),
            }
        }
    }

    /// The value of a key, if there is one. Both must have the map's sizes.
    pub fn get<const N: usize>(&self, key: &[u8]) -> io::Result<Option<[u8; N]>> {
        self.check(key.len(), N)?;
        let mut value = [0_u8; N];
        let mut entry = self.entry(key, value.as_mut_ptr().expose_provenance());
        match bpf(MAP_LOOKUP_ELEM, &mut entry) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an entry. Key and value must have the map's sizes.
    pub fn put(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key.len(), value.len())?;
        let mut entry = self.entry(key, value.as_ptr().expose_provenance());
        bpf(MAP_UPDATE_ELEM, &mut entry).map(drop)
    }

    fn check(&self, key: usize, value: usize) -> io::Result<()> {
        let (keys, values) = (self.key_size, self.value_size);
        if (key, value) == (keys as usize, values as usize) {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "keys of {keys} bytes, values of {values}"
            )))
        }
    }

    fn entry(&self, key: &[u8], value: usize) -> Entry {
        Entry {
            map: self.descriptor.as_raw_fd().unsigned_abs(),
            padding: 0,
            key: key.as_ptr().expose_provenance() as u64,
            value: value as u64,
            flags: 0,
        }
    }
}

/// What the kernel is told of an entry of a map.
#[repr(C)]
struct Entry {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Ids of the programs attached to this cgroup itself (not to those above) at one of the [`HOOKS`].
pub fn attached(cgroup: &Path, hook: u32) -> io::Result<Vec<u32>> {
    const MAX: u32 = 64;
    #[repr(C)]
    struct Attributes {
        target: u32,
        hook: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
    }
    let dir = File::open(cgroup)?;
    let mut ids = [0_u32; MAX as usize];
    let mut attributes = Attributes {
        target: dir.as_raw_fd().unsigned_abs(),
        hook,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr().expose_provenance() as u64,
        count: MAX,
        padding: 0,
    };
    bpf(PROG_QUERY, &mut attributes)?;
    let count = attributes.count.min(MAX) as usize;
    Ok(ids[..count].to_vec())
}

/// The first words of what an object says of itself.
fn info<const WORDS: usize>(pin: &Path) -> io::Result<[u32; WORDS]> {
    #[repr(C)]
    struct Attributes {
        object: u32,
        length: u32,
        info: u64,
    }
    let object = open(pin)?;
    let mut words = [0_u32; WORDS];
    let mut attributes = Attributes {
        object: object.as_raw_fd().unsigned_abs(),
        length: u32::try_from(size_of_val(&words)).unwrap_or_default(),
        info: words.as_mut_ptr().expose_provenance() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(words)
}

fn open(pin: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        path: u64,
        descriptor: u32,
        flags: u32,
    }
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attributes = Attributes {
        path: path.as_ptr().expose_provenance() as u64,
        descriptor: 0,
        flags: 0,
    };
    let descriptor = bpf(OBJ_GET, &mut attributes)?;
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// `attributes` is the beginning of `union bpf_attr` for the command; the kernel takes the rest as zero.
fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    let (pointer, size) = (std::ptr::from_mut(attributes), size_of::<T>());
    // SAFETY: the kernel reads and writes within `size` bytes of `attributes`, and within the memory that
    // the callers in this file point to, which is as long as they say and lives through the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

//! The list of live connections: an iterator pinned beside the maps, read like a file.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
};

use aya::{
    Btf, Ebpf, EbpfError,
    maps::MapError,
    programs::{Program, ProgramError},
};
use mesh_common::{abi::map, flow::LiveFlow, sock::flag};
use thiserror::Error;
use zerocopy::FromBytes;

use super::{
    hooks::{self, READS_NEED},
    pins::Pins,
};
use crate::sys::bpf;

/// Name of the program and of its pin.
pub const PROGRAM: &str = "mesh_list";
/// The kind of iterator, as `bpf_iter_...` in the kernel.
const KIND: &str = "bpf_sk_storage_map";

/// Why live connections can't be listed.
#[derive(Debug, Error)]
pub enum ListingError {
    /// The kernel's types can't be read.
    #[error(transparent)]
    Types(#[from] EbpfError),
    /// The kernel refused the program.
    #[error("loading the program {PROGRAM}: {} (it {READS_NEED})", hooks::refusal(.0))]
    Program(#[from] ProgramError),
    /// The socket storage is not there.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The iterator can't be made, pinned or read.
    #[error("the list of connections at {path}: {source}{hint}", hint = hint(.source))]
    Io {
        /// The pin.
        path: String,
        /// The reason.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        format!(" (the agent's log says why it did not install the list, which {READS_NEED})")
    } else {
        String::new()
    }
}

/// Loads the iterator and pins it, in place of a previous agent's.
///
/// # Errors
/// Where the kernel refuses; everything but the list of live connections works without it.
pub fn install(ebpf: &mut Ebpf, pins: &Pins) -> Result<(), ListingError> {
    let types = Btf::from_sys_fs().map_err(|error| ListingError::Types(EbpfError::BtfError(error)))?;
    let Some(Program::Iter(program)) = ebpf.program_mut(PROGRAM) else {
        return Err(ProgramError::UnexpectedProgramType.into());
    };
    program.load(KIND, &types)?;
    let storage = aya::maps::MapData::from_pin(pins.map(map::SOCK_STATE))?;
    let path = pins.link(PROGRAM);
    let failed = |source| ListingError::Io {
        path: path.display().to_string(),
        source,
    };
    let link = bpf::map_iterator(program.fd()?.as_fd(), storage.fd().as_fd()).map_err(failed)?;
    pins.replace_link(PROGRAM, link.as_fd()).map_err(failed)
}

/// Every TCP connection that lives now.
///
/// # Errors
/// See [`read_all`].
pub fn read(pins: &Pins) -> Result<Vec<LiveFlow>, ListingError> {
    let mut flows = read_all(pins)?;
    flows.retain(|flow| flow.sock.flags & flag::DATAGRAM == 0);
    Ok(flows)
}

/// The same, and the UDP sockets that are connected to a service.
///
/// # Errors
/// Where the pin is missing or the kernel refuses.
pub fn read_all(pins: &Pins) -> Result<Vec<LiveFlow>, ListingError> {
    let path = pins.link(PROGRAM);
    let failed = |source| ListingError::Io {
        path: path.display().to_string(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|mut list| list.read_to_end(&mut bytes))
        .map_err(failed)?;
    let records = bytes.chunks_exact(size_of::<LiveFlow>());
    Ok(records
        .filter_map(|record| LiveFlow::read_from_bytes(record).ok())
        .collect())
}

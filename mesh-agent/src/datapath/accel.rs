//! The programs of acceleration. They read the kernel's own memory, so they load apart from all others, and
//! where the kernel refuses them everything else works.

use std::{io, os::fd::AsFd};

use aya::{
    Ebpf,
    maps::{MapData, MapError},
    programs::{Program, ProgramError},
};
use mesh_common::abi::map;
use thiserror::Error;

use super::{
    btf::{self, BtfError},
    hooks::{self, READS_NEED},
    pins::Pins,
};
use crate::sys::bpf::{self, AttachType};

/// Takes the place of [`PLAIN`] among the cgroup programs: it enrols sockets, too.
pub const ENROL: &str = "mesh_tcp_accel";
/// The program [`ENROL`] takes the place of.
pub const PLAIN: &str = "mesh_tcp";
/// Judges each message of an enrolled socket.
pub const REDIRECT: &str = "mesh_redirect";
/// Takes bytes of TCP into the queue of redirected ones.
pub const DELIVER: &str = "mesh_deliver";

/// Why nothing can be redirected.
#[derive(Debug, Error)]
pub enum AccelError {
    /// Where the kernel keeps what the programs look at is not known.
    #[error(transparent)]
    Types(#[from] BtfError),
    /// The kernel refused a program.
    #[error(
        "loading the program {program}: {} (it {READS_NEED})",
        hooks::refusal(.source)
    )]
    Program {
        /// Its name.
        program: &'static str,
        /// The reason, with the verifier's log.
        source: Box<ProgramError>,
    },
    /// A table of sockets is not there.
    #[error("map {map}: {source}")]
    Map {
        /// The table.
        map: &'static str,
        /// The reason.
        source: MapError,
    },
    /// The kernel refused to run a program for a table's sockets.
    #[error("attaching {program} to the map {map}: {source}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The table.
        map: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// Loads the programs; nothing is attached.
///
/// # Errors
/// Where the kernel refuses; everything but acceleration works without them.
pub fn load(ebpf: &mut Ebpf) -> Result<(), AccelError> {
    // Without offsets, what enrols would judge by whatever is at the start of a socket.
    btf::sock_offsets()?;
    // What enrols comes last: it is attached wherever it is loaded.
    for program in [REDIRECT, DELIVER, ENROL] {
        let failed = |source| AccelError::Program {
            program,
            source: Box::new(source),
        };
        let loaded = ebpf
            .program_mut(program)
            .ok_or_else(|| failed(ProgramError::NotLoaded))?;
        hooks::load(loaded).map_err(failed)?;
    }
    Ok(())
}

/// Makes sockets that are enrolled from now on run the programs; `deliver` says whether bytes of TCP are taken
/// into the queue of redirected ones where the socket is an application's. That is for `FIONREAD` only, which the
/// mesh itself never asks.
///
/// # Errors
/// Where the programs are not loaded, or the kernel refuses.
pub fn attach(ebpf: &Ebpf, pins: &Pins, deliver: bool) -> Result<(), AccelError> {
    for (map, deliver) in [(map::MESH_SOCKETS, false), (map::SOCKETS, deliver)] {
        let sockets = MapData::from_pin(pins.map(map)).map_err(|source| AccelError::Map { map, source })?;
        attach_to(ebpf, map, &sockets, deliver)?;
    }
    Ok(())
}

/// As [`attach`], to one table of this name.
///
/// # Errors
/// As [`attach`].
pub fn attach_to(ebpf: &Ebpf, map: &'static str, sockets: &MapData, deliver: bool) -> Result<(), AccelError> {
    let sockets = sockets.fd().as_fd();
    let refused = |program| move |source| AccelError::Attach { program, map, source };
    let program = fd(ebpf, DELIVER)?;
    bpf::attach_to_sockets(program, sockets, AttachType::StreamVerdict).map_err(refused(DELIVER))?;
    if !deliver {
        // Only who is attached can be detached: ours took the place of what a previous agent may have left.
        bpf::detach_from_sockets(program, sockets, AttachType::StreamVerdict).map_err(refused(DELIVER))?;
    }
    let program = fd(ebpf, REDIRECT)?;
    bpf::attach_to_sockets(program, sockets, AttachType::SkMsg).map_err(refused(REDIRECT))
}

fn fd<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<std::os::fd::BorrowedFd<'a>, AccelError> {
    let failed = |source| AccelError::Program {
        program: name,
        source: Box::new(source),
    };
    let program: &Program = ebpf
        .program(name)
        .ok_or_else(|| failed(ProgramError::NotLoaded))?;
    hooks::fd(program).map_err(failed)
}

/// The program that runs at a hook: the accelerating one where it is loaded.
#[must_use]
pub fn best<'a>(ebpf: &'a Ebpf, hook: &'static str) -> Option<&'a Program> {
    let better = (hook == PLAIN).then(|| ebpf.program(ENROL)).flatten();
    let better = better.filter(|program| hooks::fd(program).is_ok());
    better.or_else(|| ebpf.program(hook))
}

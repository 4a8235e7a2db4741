//! Loads the programs on top of the pinned maps: those of a previous agent where they are there.

use std::{collections::BTreeMap, io, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapError, MapInfo},
    programs::ProgramError,
};
use mesh_common::abi::{MAPS, MapKind, MapSpec};
use thiserror::Error;

use super::{
    btf,
    hooks::{self, HOOKS},
    object,
    pins::{PinError, Pins},
};
use crate::{causes::io_error, sys::raw::Raw};

/// Sizes of maps other than the default, by name.
pub type MapSizes = BTreeMap<String, u32>;

/// Why the programs can't be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A map is pinned with another layout than this agent's.
    #[error(
        "{path}: pinned with {what} {found}, this agent wants {wanted}: \
         start the agent with the size the map has, or run `mesh-agent cleanup` first (which detaches the mesh)"
    )]
    Layout {
        /// The pin.
        path: String,
        /// What differs.
        what: &'static str,
        /// What the pinned map has.
        found: u32,
        /// What this agent has.
        wanted: u32,
    },
    /// The kernel refused the maps.
    #[error("creating the maps: {0}{hint}", hint = capability_hint(.0))]
    Maps(#[source] Box<EbpfError>),
    /// A pin could not be opened.
    #[error("opening the pin {path}: {source}")]
    Pin {
        /// The pin.
        path: String,
        /// The reason.
        source: MapError,
    },
    /// The directory of pins can't be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The kernel refused a program.
    #[error("loading the program {program}: {source}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The reason, with the verifier's log.
        source: Box<ProgramError>,
    },
    /// The object lacks a program; the build is broken.
    #[error("the embedded object has no program {0}: rebuild with `cargo xtask build`")]
    Missing(&'static str),
}

/// Loads maps and programs; nothing is attached.
///
/// # Errors
/// Where a pinned map has another layout, or the kernel refuses (the message names the object).
pub fn load(pins: &Pins, sizes: &MapSizes) -> Result<Ebpf, LoadError> {
    pins.create()?;
    for spec in MAPS {
        check_layout(&pins.map(spec.name), &spec, entries(&spec, sizes))?;
    }
    load_as(|loader, spec| {
        loader.map_pin_path(spec.name, pins.map(spec.name));
        if let Some(&size) = sizes.get(spec.name) {
            loader.map_max_entries(spec.name, size);
        }
    })
}

/// Shows that the kernel takes maps and programs; none of them stays.
///
/// # Errors
/// Where it does not.
pub fn rehearse(sizes: &MapSizes) -> Result<(), LoadError> {
    let loaded = load_as(|loader, spec| {
        // What the verifier looks at is the size of arrays; others need not take the memory.
        let is_table = matches!(spec.kind, MapKind::Hash | MapKind::LruHash | MapKind::LpmTrie);
        let size = sizes.get(spec.name).copied();
        if let Some(size) = if is_table { Some(1) } else { size } {
            loader.map_max_entries(spec.name, size);
        }
    });
    loaded.map(drop)
}

/// Ids of the pinned maps, in the order of [`MAPS`]; `None` where one is missing.
#[must_use]
pub fn pinned(pins: &Pins) -> Option<Vec<u32>> {
    let id = |spec: &MapSpec| Some(MapInfo::from_pin(pins.map(spec.name)).ok()?.id());
    MAPS.iter().map(id).collect()
}

/// Loads everything, with maps as they are arranged for.
fn load_as(arrange: impl Fn(&mut EbpfLoader<'_>, &MapSpec)) -> Result<Ebpf, LoadError> {
    let offsets = btf::tcp_offsets().map(Raw);
    let sock_offsets = btf::sock_offsets().map(Raw);
    let mut loader = EbpfLoader::new();
    for spec in &MAPS {
        arrange(&mut loader, spec);
    }
    match &offsets {
        Ok(offsets) => drop(loader.override_global("TCP_OFFSETS", offsets, true)),
        Err(error) => tracing::warn!(%error, "live connections can't be listed"),
    }
    match &sock_offsets {
        Ok(offsets) => drop(loader.override_global("SOCK_OFFSETS", offsets, true)),
        Err(error) => tracing::warn!(%error, "nothing can be accelerated"),
    }
    let mut ebpf = loader
        .load(object::bytes())
        .map_err(|error| LoadError::Maps(Box::new(error)))?;
    for hook in HOOKS {
        let program = ebpf
            .program_mut(hook.program)
            .ok_or(LoadError::Missing(hook.program))?;
        hooks::load(program).map_err(|source| LoadError::Program {
            program: hook.program,
            source: Box::new(source),
        })?;
    }
    Ok(ebpf)
}

/// The number of entries a map has under the given overrides.
#[must_use]
pub fn entries(spec: &MapSpec, sizes: &MapSizes) -> u32 {
    sizes
        .get(spec.name)
        .copied()
        .unwrap_or(u32::try_from(spec.entries).unwrap_or(u32::MAX))
}

/// The number of entries of the map with that name under the given overrides; 0 where there is none.
#[must_use]
pub fn size_of(name: &str, sizes: &MapSizes) -> u32 {
    let spec = MAPS.iter().find(|spec| spec.name == name);
    spec.map_or(0, |spec| entries(spec, sizes))
}

/// Compares a pinned map with what this agent means by its name: aya would take it as it is.
fn check_layout(path: &Path, spec: &MapSpec, entries: u32) -> Result<(), LoadError> {
    let info = match MapInfo::from_pin(path) {
        Ok(info) => info,
        Err(error) if is_missing(&error) => return Ok(()),
        Err(source) => {
            return Err(LoadError::Pin {
                path: path.display().to_string(),
                source,
            });
        }
    };
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let kind = info.map_type().map_or(0, |kind| kind as u32);
    let comparisons = [
        ("map type", kind, spec.kind as u32),
        ("key size", info.key_size(), size(spec.key)),
        ("value size", info.value_size(), size(spec.value)),
        ("max_entries", info.max_entries(), entries),
    ];
    for (what, found, wanted) in comparisons {
        if found != wanted {
            return Err(LoadError::Layout {
                path: path.display().to_string(),
                what,
                found,
                wanted,
            });
        }
    }
    Ok(())
}

fn is_missing(error: &MapError) -> bool {
    io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Names the capability behind an EPERM.
fn capability_hint(error: &EbpfError) -> &'static str {
    let denied = io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if denied {
        " (the agent needs CAP_BPF and CAP_NET_ADMIN)"
    } else {
        ""
    }
}

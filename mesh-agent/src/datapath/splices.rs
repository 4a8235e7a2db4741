//! The table of enrolled sockets' kernel addresses, as the agent's sweep sees it. Its entries come and go with the programs
//! of the sockets; the agent removes only what those have missed.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::maps::{HashMap, Map, MapData, MapError};
use mesh_common::{
    abi::map,
    accel::{SocketKey, Splice},
};
use thiserror::Error;

use super::{pins::Pins, tables::TableError};
use crate::{
    model::stale::Entry,
    sys::{bpf, raw::Raw},
};

/// Why an entry can't be removed.
#[derive(Debug, Error)]
pub enum RemoveError {
    /// The kernel refused to take it out.
    #[error("map {}: taking out an entry: {source}", map::SPLICES)]
    Take {
        /// The reason.
        source: io::Error,
    },
    /// It was another's, and could not be put back: that connection goes by TCP from now on.
    #[error("map {}: putting back an entry: {source}", map::SPLICES)]
    PutBack {
        /// The reason.
        source: MapError,
    },
}

/// The table.
pub struct Splices {
    map: HashMap<MapData, Raw<SocketKey>, Raw<Splice>>,
    fd: OwnedFd,
}

impl Splices {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// Where it is missing or can't be opened.
    pub fn open(pins: &Pins) -> Result<Self, TableError> {
        let data = MapData::from_pin(pins.map(map::SPLICES)).map_err(failed)?;
        let fd = data.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| failed(MapError::IoError(error)))?;
        let map = HashMap::try_from(Map::HashMap(data)).map_err(failed)?;
        Ok(Self { map, fd })
    }

    /// Every entry.
    ///
    /// # Errors
    /// Where the table can't be read.
    pub fn entries(&self) -> Result<Vec<(SocketKey, Splice)>, TableError> {
        let entry = |entry: Result<(Raw<SocketKey>, Raw<Splice>), MapError>| match entry {
            Ok((Raw(key), Raw(splice))) => Some(Ok((key, splice))),
            Err(MapError::KeyNotFound) => None,
            Err(source) => Some(Err(failed(source))),
        };
        self.map.iter().filter_map(entry).collect()
    }

    /// Removes an entry, unless it is another socket's by now; says whether it did.
    ///
    /// The kernel can't compare and remove in one step. So what was taken out is looked at, and put back
    /// if a new socket with the same ends has entered it meanwhile, unless that one is replaced, too. For that moment the new
    /// connection goes by TCP.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn remove(&mut self, Entry { key, cookie }: Entry) -> Result<bool, RemoveError> {
        /// `BPF_NOEXIST`.
        const UNLESS_THERE: u64 = 1;
        let taken: Option<Splice> =
            bpf::take(self.fd.as_fd(), &key).map_err(|source| RemoveError::Take { source })?;
        match taken {
            Some(splice) if splice.cookie != cookie => {
                let back = self.map.insert(Raw(key), Raw(splice), UNLESS_THERE);
                match back {
                    Ok(()) => Ok(false),
                    Err(error) if exists(&error) => Ok(false),
                    Err(source) => Err(RemoveError::PutBack { source }),
                }
            }
            taken => Ok(taken.is_some()),
        }
    }
}

fn exists(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.kind() == io::ErrorKind::AlreadyExists)
}

fn failed(source: MapError) -> TableError {
    TableError {
        map: map::SPLICES,
        source,
    }
}

//! Marks sockets as the mesh's own, through their descriptor: what no pod can forge.

use std::os::fd::AsRawFd;

use aya::maps::{Map, MapData, MapError, SkStorage};
use mesh_common::abi::map;

use super::pins::Pins;

/// Marks a socket; what it accepts from now on inherits the mark. To be called before it connects or listens.
///
/// # Errors
/// Where the table is missing, or the kernel refuses.
pub fn mark(pins: &Pins, socket: &impl AsRawFd) -> Result<(), MapError> {
    let storage = Map::SkStorage(MapData::from_pin(pins.map(map::OWN_SOCKETS))?);
    SkStorage::<_, u32>::try_from(storage)?.insert(socket, 1, 0)
}

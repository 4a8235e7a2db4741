//! `mesh-agent cleanup`: nothing of ours is left.

use std::path::PathBuf;

use anyhow::Context;
use mesh_common::config::flag;

use super::{config::Place, flock::Patience, lock::RunDir, pin_lock::PinLock};
use crate::{
    datapath::{packets, pins::Pins, tables::Tables},
    sys::netns::Host,
};

/// Removes everything an agent ever installed.
///
/// # Errors
/// Where an agent still runs, or something can't be removed.
pub fn cleanup(place: &Place) -> anyhow::Result<Vec<String>> {
    let pins = Pins::new(&place.bpffs);
    let run_dir = place
        .run_dir
        .exists()
        .then(|| RunDir::take(&place.run_dir, Patience::Refuse))
        .transpose()?;
    let _pin_lock = pins
        .top()
        .exists()
        .then(|| PinLock::take(&pins.top(), Patience::Refuse))
        .transpose()?;
    let mut removed = packets::remove_filters(&Host::open(place.host_netns.as_deref())?)
        .context("removing packet programs")?;
    let mut paths = uninstall(&pins)?;
    if let Some(run_dir) = run_dir {
        paths.extend(run_dir.remove()?);
    }
    removed.extend(paths.iter().map(|path| path.display().to_string()));
    Ok(removed)
}

/// Removes all pins. Enrolled sockets keep their program until they close: tell it first to leave all to TCP.
fn uninstall(pins: &Pins) -> anyhow::Result<Vec<PathBuf>> {
    if let Ok(mut tables) = Tables::open(pins) {
        let config = tables.config()?;
        tables.set_config(config.with(flag::DISABLED | flag::ACCEL_OFF, true))?;
    }
    Ok(pins.remove_all()?)
}

//! Reads the ring buffer.

use std::{io, os::fd::AsFd};

use aya::maps::{Map, MapData, MapError, RingBuf};
use mesh_common::{abi::map, flow::FlowEvent};
use thiserror::Error;
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes;

use crate::{datapath::pins::Pins, sys::wait};

/// Why events can't be read.
#[derive(Debug, Error)]
pub enum EventsError {
    /// The ring buffer can't be opened.
    #[error("the ring buffer of events: {0}")]
    Map(#[from] MapError),
    /// It can't be waited for.
    #[error("waiting for events: {0}")]
    Wait(#[from] io::Error),
}

/// The one reader of the ring buffer; what a previous agent left unread is read first.
pub struct Events {
    ring: RingBuf<MapData>,
    ready: AsyncFd<std::os::fd::OwnedFd>,
}

impl Events {
    /// Opens the pinned ring buffer.
    ///
    /// # Errors
    /// Where it is missing or can't be mapped.
    pub fn open(pins: &Pins) -> Result<Self, EventsError> {
        let data = MapData::from_pin(pins.map(map::EVENTS))?;
        let waitable = data.fd().as_fd().try_clone_to_owned()?;
        let ring = RingBuf::try_from(Map::RingBuf(data))?;
        Ok(Self {
            ring,
            ready: wait::readable(waitable)?,
        })
    }

    /// Comes when the buffer fills; the reader looks now and then anyway.
    pub async fn filling(&self) {
        match self.ready.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            // Only when the runtime ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes everything that waits; records of another size than ours are passed over.
    pub fn drain(&mut self, mut each: impl FnMut(FlowEvent)) {
        while let Some(bytes) = self.ring.next() {
            if let Ok(event) = FlowEvent::read_from_bytes(&bytes) {
                each(event);
            } else {
                tracing::debug!(len = bytes.len(), "an event of another size");
            }
        }
    }
}

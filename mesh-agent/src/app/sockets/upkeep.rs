//! What has to be looked after while sockets are accelerated: entries that nobody removes, and senders that nobody
//! wakes. Both show in two looks, some seconds apart.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Instant,
};

use mesh_common::{
    accel::{SocketKey, Splice},
    flow::LiveFlow,
    sock::SockState,
};
use thiserror::Error;

use crate::{
    app::engine::Engine,
    datapath::{
        listing::{self, ListingError},
        pins::Pins,
        splices::Splices,
        tables::TableError,
    },
    model::stale,
    pods::blocked,
};

/// Looks may take this part of the time, no more.
const SHARE: u32 = 20;

/// Why nothing can be looked after.
#[derive(Debug, Error)]
enum UpkeepError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Listing(#[from] ListingError),
}

/// Handles of the pods' network namespaces, by workload id.
type Handles = HashMap<u32, PathBuf>;

/// Looks after accelerated sockets.
pub struct Upkeep {
    watch: Arc<Mutex<Watch>>,
}

impl Upkeep {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(pins: Pins) -> Self {
        let watch = Watch {
            pins,
            stale: stale::Suspects::default(),
            blocked: blocked::Suspects::default(),
            not_before: Instant::now(),
        };
        Self {
            watch: Arc::new(Mutex::new(watch)),
        }
    }

    /// Looks, beside whatever else the agent does; to be called now and then.
    pub fn look(&self, engine: &Engine) {
        let paths = &engine.assignment().paths;
        let workloads = engine.ledger().workloads();
        let handles: Handles = workloads
            .filter_map(|(id, pod)| Some((id, paths.get(pod)?.clone())))
            .collect();
        let watch = Arc::clone(&self.watch);
        tokio::task::spawn_blocking(move || {
            // The last look may still be on its way.
            let Ok(mut watch) = watch.try_lock() else {
                return;
            };
            if let Err(error) = watch.look(&handles) {
                tracing::warn!(%error, "accelerated sockets can't be looked after");
            }
        });
    }
}

struct Watch {
    pins: Pins,
    stale: stale::Suspects,
    blocked: blocked::Suspects,
    not_before: Instant,
}

impl Watch {
    fn look(&mut self, handles: &Handles) -> Result<(), UpkeepError> {
        let started = Instant::now();
        if started < self.not_before {
            return Ok(());
        }
        // The entries before the list: what is enrolled meanwhile is in the list alone.
        let mut splices = Splices::open(&self.pins)?;
        let entries = splices.entries()?;
        // Nothing is accelerated: there is no need to look at every connection.
        let flows = if entries.is_empty() {
            Vec::new()
        } else {
            listing::read(&self.pins)?
        };
        self.sweep(&mut splices, &entries, &flows);
        self.release(&entries, &flows, handles);
        self.not_before = Instant::now() + started.elapsed() * SHARE;
        Ok(())
    }

    /// Removes the entries of sockets that are gone.
    fn sweep(&mut self, splices: &mut Splices, entries: &[(SocketKey, Splice)], flows: &[LiveFlow]) {
        let live = flows.iter().map(|flow| flow.sock.cookie).collect();
        let mut removed = 0;
        for entry in self.stale.look(entries, &live) {
            match splices.remove(entry) {
                Ok(did) => removed += u32::from(did),
                Err(error) => tracing::warn!(%error, "the entry of a socket that is gone stays"),
            }
        }
        if removed > 0 {
            tracing::info!(removed, "entries of sockets that are gone");
        }
    }

    /// Ends the sockets that wait for a reader who is gone.
    fn release(&mut self, entries: &[(SocketKey, Splice)], flows: &[LiveFlow], handles: &Handles) {
        let enrolled: HashSet<SocketKey> = entries.iter().map(|(key, _)| *key).collect();
        for suspect in self.blocked.look(flows, &enrolled) {
            let ids = [suspect.pod, suspect.accel.peer];
            let [Some(own), Some(peer)] = ids.map(|id| handles.get(&id)) else {
                continue;
            };
            match blocked::release(&suspect, own, peer) {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => tracing::info!(socket = %named(&suspect), "ended: its reader is gone"),
                Ok(Err(error)) => tracing::warn!(%error, "a sender waits for a reader who is gone"),
                // The pod may be going.
                Err(error) => report(&suspect, &error),
            }
        }
    }
}

fn report(suspect: &SockState, error: &io::Error) {
    tracing::debug!(socket = %named(suspect), %error, "its network namespace can't be asked");
}

fn named(sock: &SockState) -> String {
    format!(
        "{}:{} -> {}:{}",
        sock.local_addr,
        sock.local_port.get(),
        sock.remote_addr,
        sock.remote_port.get()
    )
}

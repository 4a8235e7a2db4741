//! Counts the sockets that were there before their pod was in the mesh: what they send is not accounted for, and they are
//! never accelerated. A pod is looked at when it comes, and again as long as it has such sockets; what was found is noted,
//! so that it outlives the agent.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
};

use prometheus_client::metrics::gauge::Gauge;
use thiserror::Error;
use tokio::task::JoinHandle;

use crate::{
    app::{engine::Engine, note},
    datapath::{
        listing::{self, ListingError},
        pins::Pins,
    },
    model::desired::PodKey,
    pods::unobserved::{self, Unobserved},
};

/// File name within the runtime directory.
const FILE: &str = "unobserved.json";

/// Why a pod's sockets are not counted.
#[derive(Debug, Error)]
enum CountError {
    #[error("its network namespace can't be asked: {0}")]
    Namespace(#[from] io::Error),
    #[error(transparent)]
    Listing(#[from] ListingError),
}

/// Counts sockets that nobody observes.
pub struct Count {
    pins: Pins,
    run_dir: PathBuf,
    gauge: Gauge,
    known: Unobserved,
    seen: BTreeMap<PodKey, u64>,
    look: Option<JoinHandle<Unobserved>>,
}

impl Count {
    /// Takes over what a previous agent found.
    #[must_use]
    pub fn new(pins: Pins, run_dir: &Path, gauge: Gauge) -> Self {
        let known = load(run_dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "which sockets an earlier agent found unobserved is not known");
            Unobserved::default()
        });
        Self {
            pins,
            run_dir: run_dir.to_path_buf(),
            gauge,
            known,
            seen: BTreeMap::new(),
            look: None,
        }
    }

    /// Looks at pods that are new.
    pub fn follow(&mut self, engine: &Engine) {
        if self.look.is_none() && self.seen != engine.assignment().cookies {
            self.look(engine);
        }
    }

    /// Looks again at what is known; to be called now and then.
    pub fn look(&mut self, engine: &Engine) {
        if self.look.is_some() {
            return;
        }
        self.seen.clone_from(&engine.assignment().cookies);
        let (pins, handles, known) = (self.pins.clone(), engine.handles(), self.known.clone());
        let look = tokio::task::spawn_blocking(move || look(&pins, &handles, &known));
        self.look = Some(look);
    }

    /// Comes when a look is over; may be dropped at any time.
    pub async fn looked(&mut self) -> Unobserved {
        let Some(look) = &mut self.look else {
            return std::future::pending().await;
        };
        let found = look.await;
        self.look = None;
        found.unwrap_or_else(|error| {
            tracing::error!(%error, "looking for unobserved sockets");
            self.known.clone()
        })
    }

    /// What was found.
    #[must_use]
    pub const fn known(&self) -> &Unobserved {
        &self.known
    }

    /// Keeps what was found; returns whether there are sockets in it that were not known.
    pub fn keep(&mut self, found: Unobserved) -> bool {
        let total: usize = found.values().map(BTreeSet::len).sum();
        self.gauge.set(i64::try_from(total).unwrap_or(i64::MAX));
        if self.known == found {
            return false;
        }
        let none = BTreeSet::new();
        let grew = found
            .iter()
            .any(|(netns, sockets)| !sockets.is_subset(self.known.get(netns).unwrap_or(&none)));
        self.known = found;
        if let Err(error) = note::store(&self.run_dir, FILE, &self.known) {
            tracing::warn!(%error, "meshctl will not know of unobserved sockets");
        }
        grew
    }
}

/// Reads what an agent found; nothing where there was none.
///
/// # Errors
/// Where the file is there and can't be read or understood.
pub fn load(run_dir: &Path) -> io::Result<Unobserved> {
    note::load(run_dir, FILE).map(Option::unwrap_or_default)
}

fn look(pins: &Pins, handles: &BTreeMap<u64, PathBuf>, known: &Unobserved) -> Unobserved {
    let mut found = Unobserved::new();
    for (&netns, handle) in handles {
        let sockets = match known.get(&netns) {
            Some(sockets) if sockets.is_empty() => Ok(sockets.clone()),
            Some(sockets) => unobserved::again(netns, handle, sockets).map_err(CountError::from),
            None => unobserved::first(netns, handle, || recorded(pins)),
        };
        match sockets {
            Ok(sockets) => {
                if !sockets.is_empty() && !known.contains_key(&netns) {
                    let (handle, count) = (handle.display(), sockets.len());
                    tracing::info!(%handle, count, "sockets from before the pod was in the mesh are not observed");
                }
                found.insert(netns, sockets);
            }
            // The pod may be going. What is not found is looked for again.
            Err(error) => {
                tracing::debug!(handle = %handle.display(), %error, "unobserved sockets are not counted");
                found.extend(known.get(&netns).map(|sockets| (netns, sockets.clone())));
            }
        }
    }
    found
}

fn recorded(pins: &Pins) -> Result<HashSet<u64>, CountError> {
    Ok(listing::read_all(pins)?
        .iter()
        .map(|flow| flow.sock.cookie)
        .collect())
}

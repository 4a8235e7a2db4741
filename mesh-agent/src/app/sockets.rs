//! What the agent looks after in the sockets of this node's pods, beside whatever else it does.

use std::path::Path;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use self::{
    removed::{Destroyed, Removed},
    unobserved::Count,
    upkeep::Upkeep,
};
use super::engine::Engine;
use crate::{datapath::pins::Pins, pods::unobserved::Unobserved};

mod removed;
pub mod unobserved;
mod unseen;
mod upkeep;

/// What is counted; copies count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    destroyed: Destroyed,
    unobserved: Gauge,
}

impl Metrics {
    /// Names them.
    pub fn register(&self, registry: &mut Registry) {
        self.destroyed.register(registry);
        registry.register(
            "mesh_unobserved_sockets",
            "Sockets that were connected before their pod was in the mesh, and still are",
            self.unobserved.clone(),
        );
    }
}

/// Looks after sockets.
pub struct Sockets {
    removed: Removed,
    unobserved: Count,
    upkeep: Upkeep,
}

/// What [`Sockets::next`] comes with.
pub enum Step {
    /// About connections to removed endpoints.
    Removed(removed::Step),
    /// Sockets that nobody observes.
    Unobserved(Unobserved),
}

impl Sockets {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(pins: &Pins, run_dir: &Path, metrics: Metrics) -> Self {
        Self {
            removed: Removed::new(pins.clone(), metrics.destroyed),
            unobserved: Count::new(pins.clone(), run_dir, metrics.unobserved),
            upkeep: Upkeep::new(pins.clone()),
        }
    }

    /// Notes what changed. As all that follows, to be called only when the whole cluster is known: what is missing in it
    /// is gone.
    pub fn follow(&mut self, engine: &Engine) {
        self.removed.follow(engine);
        self.unobserved.follow(engine);
    }

    /// Looks at what no change tells of; to be called now and then.
    pub fn look(&mut self, engine: &Engine) {
        self.upkeep.look(engine);
        self.unobserved.look(engine);
    }

    /// Comes when there is something to do; may be dropped at any time.
    pub async fn next(&mut self) -> Step {
        tokio::select! {
            step = self.removed.next() => Step::Removed(step),
            found = self.unobserved.looked() => Step::Unobserved(found),
        }
    }

    /// Does what is to be done.
    pub fn step(&mut self, step: Step, engine: &Engine) {
        match step {
            Step::Removed(step) => self.removed.step(step, engine, self.unobserved.known()),
            Step::Unobserved(found) => {
                if self.unobserved.keep(found) {
                    self.removed.look_again();
                }
            }
        }
    }

    /// What can't be done on this node, with the reason.
    #[must_use]
    pub fn limits(&self) -> Vec<String> {
        self.removed.limit().into_iter().collect()
    }
}

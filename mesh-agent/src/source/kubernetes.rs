//! The API server of a cluster, followed for as long as the agent runs; and a way to write to it ([`Writer`]).
//!
//! Each resource is listed once and then watched ([`reflector`] says what is asked next and why); lists are read as
//! they come in ([`list`]), objects are reduced and checked as those of manifests are, and what is known of a resource
//! ([`known`]) tells what a list or an event changes. The first batch comes when all resources were listed.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{Batch, News, State, Unfit};

mod access;
mod failure;
mod follower;
mod gather;
mod health;
mod item;
mod known;
mod line;
mod list;
mod metrics;
mod pause;
mod reflector;
mod request;
mod resource;
mod seen;
mod writer;

#[cfg(test)]
mod tests;

pub use access::{Access, AccessError};
pub use failure::Failure;
pub use item::{Item, Version};
pub use known::{Known, Relist};
pub use line::{Line, Tombstone};
pub use list::read as read_list;
pub use metrics::SourceMetrics;
pub use pause::roll;
pub use resource::Resource;
pub use seen::Seen;
pub use writer::{Patch, Writer};

use follower::Follower;
use health::{Health, Reports};

/// Whom to follow, and for which node.
#[derive(Clone, Debug)]
pub struct Options {
    /// The way to the API server.
    pub access: Access,
    /// Name of this node.
    pub node: String,
    /// The first requests are sent at some time within this, so that agents that start together do not ask together.
    pub start_within: Duration,
    /// How far an earlier agent was: no list is to be older.
    pub after: Seen,
}

/// Something wrong with an object of the cluster, for its author or for whoever started the agent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// An object that can't be used.
    #[error("{0} (what the object said before stays)")]
    Unfit(Unfit),
    /// An object that never could be used.
    #[error("{0} (the object counts for nothing until that is mended)")]
    Unusable(Unfit),
    /// The cluster has no node of this name.
    #[error(
        "Node {0}: the cluster has no such node, so no pod is on it: say which one this is with --node-name"
    )]
    NoSuchNode(String),
}

/// An API server that is being followed, until this is dropped.
#[derive(Debug)]
pub struct KubernetesWatch {
    batches: mpsc::Receiver<Batch>,
    health: watch::Receiver<Health>,
    task: JoinHandle<()>,
}

impl KubernetesWatch {
    /// Begins to follow; an API server that does not answer is asked again and again.
    ///
    /// # Errors
    /// Where there is no way to one.
    pub async fn start(options: Options, metrics: SourceMetrics) -> Result<Self, AccessError> {
        let connection = options.access.open().await?;
        tracing::info!(
            server = connection.server,
            node = options.node,
            "following the API server"
        );
        let reports = Reports::new(connection.server.clone(), metrics);
        let health = reports.subscribe();
        let (sender, batches) = mpsc::channel(1);
        let followers = move |news: mpsc::Sender<gather::News>| {
            Resource::ALL.map(|resource| {
                Follower::new(
                    resource,
                    &options,
                    connection.clone(),
                    reports.clone(),
                    news.clone(),
                )
                .follow(options.start_within)
            })
        };
        let task = tokio::spawn(gather::gather(followers, sender));
        Ok(Self {
            batches,
            health,
            task,
        })
    }

    /// What happens next; the first batch is all there is. `None` says that the task is gone, which is a fault of ours.
    /// Can be dropped and called again without a loss.
    pub async fn next(&mut self) -> Option<News> {
        tokio::select! {
            batch = self.batches.recv() => batch.map(News::Batch),
            Ok(()) = self.health.changed() => Some(News::State),
        }
    }

    /// How the API server answers.
    #[must_use]
    pub fn state(&self) -> State {
        self.health.borrow().state()
    }
}

impl Drop for KubernetesWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

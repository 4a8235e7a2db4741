//! Where the objects come from.

pub mod kubernetes;
pub mod manifests;

mod read;

use self::{
    kubernetes::{KubernetesWatch, Seen},
    manifests::ManifestWatch,
};
use crate::model::cluster::Event;

pub use read::Unfit;

/// What a source brought.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    /// What changed.
    pub events: Vec<Event>,
    /// Everything that is wrong with the objects now.
    pub problems: Vec<Problem>,
    /// What operators may want to know besides.
    pub notes: Vec<String>,
    /// How far an API server was followed: up to here nothing else happened.
    pub seen: Seen,
    /// The same, as of what changed anything: where an agent that has this in the kernel may begin again.
    pub taken_in: Seen,
}

/// Something wrong with what a source holds.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// In a file.
    #[error(transparent)]
    Manifest(#[from] manifests::Problem),
    /// In the cluster.
    #[error(transparent)]
    Cluster(#[from] kubernetes::Problem),
}

/// A source that is being followed, until this is dropped.
#[derive(Debug)]
pub enum Source {
    /// A directory.
    Manifests(ManifestWatch),
    /// An API server.
    Kubernetes(KubernetesWatch),
}

impl Source {
    /// What readiness calls it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Manifests(_) => "manifests",
            Self::Kubernetes(_) => "kubernetes",
        }
    }

    /// What happens next; the first batch is all there is. `None` says that the source is gone, which is a fault of
    /// ours. Can be dropped and called again without a loss.
    pub async fn next(&mut self) -> Option<News> {
        match self {
            Self::Manifests(watch) => Some(News::Batch(watch.next().await?.into())),
            Self::Kubernetes(watch) => watch.next().await,
        }
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Manifests(watch) => State {
                place: watch.directory().display().to_string(),
                trouble: None,
            },
            Self::Kubernetes(watch) => watch.state(),
        }
    }
}

/// What a source has to say.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum News {
    /// Objects changed, or what is wrong with them.
    Batch(Batch),
    /// [`Source::state`] may have changed.
    State,
}

/// How a source is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct State {
    /// Where the objects come from.
    pub place: String,
    /// Why nothing comes from there now, and since when.
    pub trouble: Option<String>,
}

impl From<manifests::Batch> for Batch {
    fn from(batch: manifests::Batch) -> Self {
        Self {
            events: batch.events,
            problems: batch.problems.into_iter().map(Problem::from).collect(),
            notes: batch.notes.iter().map(ToString::to_string).collect(),
            ..Self::default()
        }
    }
}

//! The source of objects, and what the agent tells about it.

use anyhow::Context;
use prometheus_client::registry::Registry;

use super::{config::RunArgs, progress, readiness::Readiness};
use crate::{
    model::cluster::{Cluster, Event},
    source::{
        Batch, News, Source, State,
        kubernetes::{Access, KubernetesWatch, Options, Resource, Seen, SourceMetrics},
        manifests::ManifestSource,
    },
};

/// The source that is followed.
pub struct Following {
    source: Source,
    readiness: Readiness,
    /// All there was came in, and was taken in.
    complete: bool,
    problems: Vec<String>,
    seen: Seen,
    taken_in: Seen,
}

impl Following {
    /// Begins to follow what the command line says; nothing is waited for.
    ///
    /// # Errors
    /// Where there is nothing to follow.
    pub async fn start(
        args: &RunArgs,
        node: &str,
        readiness: &Readiness,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let source = if let Some(directory) = &args.manifests {
            let watch = ManifestSource::open(directory)?.watch();
            Source::Manifests(watch.context("watching the manifests")?)
        } else {
            let metrics = SourceMetrics::default();
            metrics.register(registry);
            let options = Options {
                access: access(args),
                node: node.to_owned(),
                start_within: args.start_jitter,
                after: progress::load(&args.place.run_dir),
            };
            Source::Kubernetes(KubernetesWatch::start(options, metrics).await?)
        };
        let following = Self {
            source,
            readiness: readiness.clone(),
            complete: false,
            problems: Vec::new(),
            seen: Seen::default(),
            taken_in: Seen::default(),
        };
        following.tell();
        Ok(following)
    }

    /// The way to the API server, where one is followed.
    #[must_use]
    pub fn server(&self, args: &RunArgs) -> Option<Access> {
        matches!(self.source, Source::Kubernetes(_)).then(|| access(args))
    }

    /// An empty cluster, as this source describes one.
    #[must_use]
    pub fn cluster(&self, node: &str) -> Cluster {
        match self.source {
            Source::Manifests(_) => Cluster::for_manifests(node),
            Source::Kubernetes(_) => Cluster::new(node),
        }
    }

    /// The next changes; the first are all there is. Can be dropped and called again without a loss.
    ///
    /// # Errors
    /// Where the source is gone, which is a fault of ours.
    pub async fn next(&mut self) -> anyhow::Result<Vec<Event>> {
        loop {
            let news = self.source.next().await;
            match news.with_context(|| format!("{} are no longer followed", self.source.name()))? {
                News::Batch(batch) => {
                    self.report(&batch);
                    self.seen = batch.seen;
                    self.taken_in = batch.taken_in;
                    return Ok(batch.events);
                }
                News::State => self.tell(),
            }
        }
    }

    /// What came first was taken in.
    pub fn completed(&mut self) {
        self.complete = true;
        self.readiness.clear(self.source.name());
        self.tell();
    }

    /// Whether all there was came in.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// What it means for the kernel when nothing comes.
    #[must_use]
    pub const fn consequence(&self) -> &'static str {
        if self.complete {
            "; the kernel goes on with what it has"
        } else {
            "; the kernel goes on with what an earlier agent left, if there was one"
        }
    }

    /// How far what was handed on is.
    #[must_use]
    pub const fn taken_in(&self) -> &Seen {
        &self.taken_in
    }

    /// The resources that are not followed as far as an earlier agent did.
    #[must_use]
    pub fn behind(&self, earlier: &Seen) -> Vec<&'static str> {
        match self.source {
            Source::Manifests(_) => Vec::new(),
            Source::Kubernetes(_) => self.seen.behind(earlier).map(Resource::name).collect(),
        }
    }

    /// All that is wrong with the objects.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// How the source is.
    #[must_use]
    pub fn state(&self) -> State {
        self.source.state()
    }

    /// Until everything is known the agent is not ready; afterwards the kernel goes on, whatever the source does.
    fn tell(&self) {
        let (name, State { place, trouble }) = (self.source.name(), self.state());
        if self.complete {
            let trouble = trouble.map(|why| why + self.consequence());
            self.readiness.note(name, trouble.unwrap_or(place));
        } else {
            let why = trouble.unwrap_or_else(|| "not read yet".to_owned());
            self.readiness.block(name, why + self.consequence());
        }
    }

    /// Logs what is newly wrong with the objects, and what no longer is.
    fn report(&mut self, batch: &Batch) {
        let source = self.source.name();
        let now: Vec<String> = batch.problems.iter().map(ToString::to_string).collect();
        for problem in now.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!(source, problem, "wrong");
        }
        for problem in self.problems.iter().filter(|problem| !now.contains(problem)) {
            tracing::info!(source, problem, "right again");
        }
        for note in &batch.notes {
            tracing::debug!(source, note, "seen");
        }
        self.problems = now;
    }
}

fn access(args: &RunArgs) -> Access {
    Access {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
    }
}

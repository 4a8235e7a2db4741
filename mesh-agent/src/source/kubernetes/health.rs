//! Whether the API server answers, and since when not.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use super::failure::Failure;
use super::metrics::SourceMetrics;
use super::resource::Resource;
use crate::source::State;

/// How the source is, resource by resource.
#[derive(Clone, Debug, Default)]
pub struct Health {
    server: String,
    resources: [Answering; Resource::ALL.len()],
}

/// How a resource is.
#[derive(Clone, Debug, Default)]
struct Answering {
    /// All objects came in once.
    listed: bool,
    /// The last request failed: since when some do, and why.
    trouble: Option<(Timestamp, String)>,
}

impl Health {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(server: String) -> Self {
        Self {
            server,
            ..Self::default()
        }
    }

    /// For operators.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            place: self.server.clone(),
            trouble: self.trouble(),
        }
    }

    /// Since when not everything is answered, and why.
    fn trouble(&self) -> Option<String> {
        let unlisted: Vec<_> = self.of(|it| !it.listed).map(Resource::name).collect();
        let troubles = self.resources.iter().filter_map(|it| it.trouble.as_ref());
        match troubles.min_by_key(|(since, _)| *since) {
            Some((since, why)) if unlisted.is_empty() => {
                Some(format!("the API server does not answer since {since:.0}: {why}"))
            }
            Some((since, why)) => Some(format!(
                "the API server has not answered yet: {why} (since {since:.0})"
            )),
            None if unlisted.is_empty() => None,
            None => Some(format!(
                "waiting for the API server's list of {}",
                unlisted.join(", ")
            )),
        }
    }

    fn is_in_trouble(&self) -> bool {
        self.resources.iter().any(|it| it.trouble.is_some())
    }

    fn of(&self, which: impl Fn(&Answering) -> bool) -> impl Iterator<Item = Resource> {
        let both = Resource::ALL.into_iter().zip(&self.resources);
        both.filter(move |(_, it)| which(it))
            .map(|(resource, _)| resource)
    }
}

/// Where the followers of all resources report.
#[derive(Clone, Debug)]
pub struct Reports {
    health: Arc<watch::Sender<Health>>,
    /// What is counted.
    pub metrics: SourceMetrics,
}

impl Reports {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(server: String, metrics: SourceMetrics) -> Self {
        for resource in Resource::ALL {
            metrics.connected(resource, false);
        }
        Self {
            health: Arc::new(watch::Sender::new(Health::new(server))),
            metrics,
        }
    }

    /// To see what was reported.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// The server answers requests about a resource.
    pub fn answers(&self, resource: Resource) {
        self.metrics.connected(resource, true);
        self.change(resource, |it| it.trouble.take().is_some());
    }

    /// All objects of a resource came in.
    pub fn listed(&self, resource: Resource) {
        self.metrics.heard(resource);
        self.change(resource, |it| !std::mem::replace(&mut it.listed, true));
    }

    /// The server refuses requests about a resource, or there is none.
    pub fn fails(&self, resource: Resource, why: &str) {
        self.metrics.connected(resource, false);
        self.change(resource, |it| {
            let since = it
                .trouble
                .as_ref()
                .map_or_else(Timestamp::now, |(since, _)| *since);
            let now = Some((since, why.to_owned()));
            std::mem::replace(&mut it.trouble, now.clone()) != now
        });
    }

    /// Counts a request that failed; whether that is trouble is for the follower to say.
    pub fn failed(&self, resource: Resource, verb: &'static str, failure: &Failure, why: &str) {
        tracing::debug!(resource = resource.name(), verb, why, "request failed");
        self.metrics.failed(resource, verb, failure.word());
    }

    /// Changes what is known of a resource. That the server goes, and that it is back, is logged once for all
    /// resources.
    fn change(&self, resource: Resource, change: impl FnOnce(&mut Answering) -> bool) {
        self.health.send_if_modified(|health| {
            let (before, since) = (health.is_in_trouble(), health.trouble());
            let changed = change(&mut health.resources[resource as usize]);
            match (before, health.is_in_trouble()) {
                (false, true) => {
                    let why = health.trouble().unwrap_or_default();
                    tracing::warn!(server = health.server, why, "the kernel goes on with what it has");
                }
                (true, false) => {
                    let was = since.unwrap_or_default();
                    tracing::info!(server = health.server, was, "the API server answers again");
                }
                _ => {}
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(reports: &Reports) -> Option<String> {
        reports.subscribe().borrow().state().trouble
    }

    #[test]
    fn trouble_is_told_until_every_resource_is_answered() {
        let reports = Reports::new("https://s".into(), SourceMetrics::default());
        assert_eq!(
            trouble(&reports).unwrap(),
            "waiting for the API server's list of namespaces, nodes, pods, services, endpointslices, \
             networkpolicies"
        );
        reports.fails(Resource::Pods, "connection refused");
        let said = trouble(&reports).unwrap();
        assert!(
            said.starts_with("the API server has not answered yet: connection refused (since 20"),
            "{said}"
        );

        for resource in Resource::ALL {
            reports.answers(resource);
            reports.listed(resource);
        }
        assert_eq!(trouble(&reports), None);

        reports.fails(Resource::Nodes, "first");
        reports.fails(Resource::Pods, "second");
        let said = trouble(&reports).unwrap();
        assert!(
            said.starts_with("the API server does not answer since 20") && said.ends_with(": first"),
            "{said}"
        );
        reports.answers(Resource::Nodes);
        assert!(trouble(&reports).unwrap().ends_with(": second"));
        reports.answers(Resource::Pods);
        assert_eq!(trouble(&reports), None);
    }

    #[test]
    fn only_news_wake_who_waits() {
        let reports = Reports::new("https://s".into(), SourceMetrics::default());
        let mut health = reports.subscribe();
        reports.answers(Resource::Pods);
        assert!(!health.has_changed().unwrap());
        reports.fails(Resource::Pods, "why");
        assert!(health.has_changed().unwrap());
        health.mark_unchanged();
        reports.fails(Resource::Pods, "why");
        assert!(!health.has_changed().unwrap());
    }
}

//! What is counted of the source.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::resource::Resource;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ResourceLabels {
    resource: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    resource: &'static str,
    verb: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ErrorLabels {
    resource: &'static str,
    verb: &'static str,
    reason: String,
}

/// Metrics of the source; copies count together.
#[derive(Clone, Debug, Default)]
pub struct SourceMetrics {
    connected: Family<ResourceLabels, Gauge>,
    last_sync: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    objects: Family<ResourceLabels, Gauge>,
    requests: Family<RequestLabels, Counter>,
    relists: Family<ResourceLabels, Counter>,
    events: Family<ResourceLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
}

impl SourceMetrics {
    /// Names them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "mesh_source_connected",
            "Whether the API server answers requests about a resource",
            self.connected.clone(),
        );
        registry.register(
            "mesh_source_last_sync_timestamp_seconds",
            "When the API server was last heard of a resource: a list, an event or a bookmark",
            self.last_sync.clone(),
        );
        registry.register(
            "mesh_source_objects",
            "Objects that are known",
            self.objects.clone(),
        );
        registry.register(
            "mesh_source_requests",
            "Requests to the API server",
            self.requests.clone(),
        );
        registry.register(
            "mesh_source_relists",
            "Lists that were necessary because the server no longer had the changes",
            self.relists.clone(),
        );
        registry.register("mesh_source_events", "Events of watches", self.events.clone());
        registry.register(
            "mesh_source_errors",
            "Requests to the API server that failed, and answers that broke off",
            self.errors.clone(),
        );
    }

    /// Whether the server answers.
    pub fn connected(&self, resource: Resource, connected: bool) {
        self.connected.get_or_create(&of(resource)).set(connected.into());
    }

    /// Something came.
    pub fn heard(&self, resource: Resource) {
        let now = Timestamp::now().as_duration().as_secs_f64();
        self.last_sync.get_or_create(&of(resource)).set(now);
    }

    /// An event came; so many objects are known now.
    pub fn event(&self, resource: Resource, objects: usize) {
        self.heard(resource);
        self.events.get_or_create(&of(resource)).inc();
        self.objects(resource, objects);
    }

    /// So many objects are known.
    pub fn objects(&self, resource: Resource, objects: usize) {
        let objects = i64::try_from(objects).unwrap_or(i64::MAX);
        self.objects.get_or_create(&of(resource)).set(objects);
    }

    /// A request is sent.
    pub fn asked(&self, resource: Resource, verb: &'static str) {
        let resource = resource.name();
        self.requests
            .get_or_create(&RequestLabels { resource, verb })
            .inc();
    }

    /// A list had to be repeated.
    pub fn relisted(&self, resource: Resource) {
        self.relists.get_or_create(&of(resource)).inc();
    }

    /// A request failed.
    pub fn failed(&self, resource: Resource, verb: &'static str, reason: String) {
        let resource = resource.name();
        let labels = ErrorLabels {
            resource,
            verb,
            reason,
        };
        self.errors.get_or_create(&labels).inc();
    }
}

const fn of(resource: Resource) -> ResourceLabels {
    ResourceLabels {
        resource: resource.name(),
    }
}

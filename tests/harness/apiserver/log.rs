//! What was asked.

use std::time::Instant;

use serde_json::{Value, json};

use super::query::Query;
use super::route::Target;

/// A request for objects that was answered, or is about to be.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it came.
    pub at: Instant,
    /// `list`, `watch`, `get`, ...; empty if the path is none of objects.
    pub verb: String,
    /// Path.
    pub path: String,
    /// API group.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Namespace; empty for all.
    pub namespace: String,
    /// Name; empty for more than one.
    pub name: String,
    /// `status`, or empty.
    pub subresource: String,
    /// Label selector.
    pub label_selector: String,
    /// Field selector.
    pub field_selector: String,
    /// As it was asked for.
    pub resource_version: String,
    /// How long a watch is to last, in seconds; 0 where that is left to the server.
    pub timeout: u64,
    /// Objects in an answer.
    pub limit: usize,
    /// Whether it is a further piece of a list.
    pub continued: bool,
    /// Who asked; empty for nobody the server knows.
    pub user: String,
    /// With what program.
    pub user_agent: String,
    /// HTTP status of the answer; 410 also for a watch that was told so in its first event. 0 while there is none.
    pub status: u16,
}

impl Request {
    /// Of a path, for which nothing else is known yet.
    #[must_use]
    pub fn new(path: &str, user_agent: &str) -> Self {
        Self {
            at: Instant::now(),
            verb: String::new(),
            path: path.into(),
            group: String::new(),
            resource: String::new(),
            namespace: String::new(),
            name: String::new(),
            subresource: String::new(),
            label_selector: String::new(),
            field_selector: String::new(),
            resource_version: String::new(),
            timeout: 0,
            limit: 0,
            continued: false,
            user: String::new(),
            user_agent: user_agent.into(),
            status: 0,
        }
    }

    /// Notes what it is about.
    pub fn note(&mut self, verb: &str, target: &Target, query: &Query) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        self.verb = verb.into();
        self.group = target.resource.group.into();
        self.resource = target.resource.plural.into();
        self.namespace = text(&target.namespace);
        self.name = text(&target.name);
        self.subresource = text(&target.subresource);
        self.label_selector.clone_from(&query.label_selector);
        self.field_selector.clone_from(&query.field_selector);
        self.resource_version.clone_from(&query.resource_version);
        self.timeout = query.timeout_seconds().ok().flatten().unwrap_or_default();
        self.limit = query.limit().unwrap_or_default();
        self.continued = !query.continuation.is_empty();
    }

    /// For those who read lines.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "verb": self.verb, "path": self.path, "group": self.group, "resource": self.resource,
            "namespace": self.namespace, "name": self.name, "subresource": self.subresource,
            "labelSelector": self.label_selector, "fieldSelector": self.field_selector,
            "resourceVersion": self.resource_version, "limit": self.limit, "continued": self.continued,
            "user": self.user, "userAgent": self.user_agent, "status": self.status,
        })
    }
}

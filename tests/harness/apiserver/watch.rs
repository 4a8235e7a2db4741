//! One watcher: which lines it is told, from the changes of the store.

use std::sync::Arc;

use super::failure::{Answer, Failure};
use super::object::Object;
use super::query::Query;
use super::resource::Resource;
use super::selector::Selector;
use super::store::{Change, Store};

/// Changes looked at under one lock.
const BATCH: usize = 500;

/// What is written in a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// New, or new to the selector.
    Added,
    /// Changed.
    Modified,
    /// Gone, or no longer selected.
    Deleted,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// A line of a watch.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// To what.
    pub object: Arc<Object>,
}

impl Event {
    /// Adds the line.
    pub fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(format!(r#"{{"type":"{}","object":"#, self.kind.name()).as_bytes());
        self.object.write(into);
        into.extend_from_slice(b"}\n");
    }
}

/// A bookmark: an object with nothing but a version.
#[must_use]
pub fn bookmark(resource: &Resource, version: u64) -> Vec<u8> {
    let (kind, api_version) = (resource.kind, resource.api_version());
    let created = if resource.custom {
        ""
    } else {
        r#","creationTimestamp":null"#
    };
    let rest = if resource.empty.is_empty() {
        String::new()
    } else {
        format!(",{}", resource.empty)
    };
    format!(
        concat!(
            r#"{{"type":"BOOKMARK","object":{{"kind":"{}","apiVersion":"{}","#,
            r#""metadata":{{"resourceVersion":"{}"{}}}{}}}}}"#,
            "\n"
        ),
        kind, api_version, version, created, rest
    )
    .into_bytes()
}

/// The line that ends a watch with a reason.
#[must_use]
pub fn error(failure: &Failure) -> Vec<u8> {
    format!(r#"{{"type":"ERROR","object":{}}}{}"#, failure.body(), "\n").into_bytes()
}

/// Where a watcher stands.
#[derive(Debug)]
pub struct Watcher {
    resource: &'static Resource,
    selector: Selector,
    /// Told up to here.
    version: u64,
}

impl Watcher {
    /// Starts, with what is there already if the query names no version (or `0`, as of the `cached` one).
    pub fn start(
        store: &Store,
        resource: &'static Resource,
        selector: Selector,
        query: &Query,
        cached: u64,
    ) -> Answer<(Self, Vec<Event>)> {
        if query.names_initial_events() {
            const WHAT: &str = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
            return Err(Failure::invalid_options("ListOptions", "sendInitialEvents", WHAT));
        }
        if !query.resource_version_match.is_empty() {
            const WHAT: &str = "Forbidden: resourceVersionMatch is forbidden for watch";
            return Err(Failure::invalid_options(
                "ListOptions",
                "resourceVersionMatch",
                WHAT,
            ));
        }
        let (version, initial) = match query.version()? {
            None => (store.version(), store.objects_at(resource, store.version())),
            Some(0) => (cached, store.objects_at(resource, cached)),
            Some(version) => {
                store.since(resource, version, 0)?;
                (version, None)
            }
        };
        let initial = initial.iter().flat_map(|objects| objects.values());
        let initial = initial.filter(|object| selector.matches(object));
        let added = |object: &Arc<Object>| Event {
            kind: Kind::Added,
            object: object.clone(),
        };
        let events = initial.map(added).collect();
        let watcher = Self {
            resource,
            selector,
            version,
        };
        Ok((watcher, events))
    }

    /// What happened since, and whether there may be more. Versions of the future (a client of before a restore)
    /// are waited for: nothing is told until the store's pass them.
    pub fn pull(&mut self, store: &Store) -> Answer<(Vec<Event>, bool)> {
        if self.version > store.version() {
            return Ok((Vec::new(), false));
        }
        let changes = store.since(self.resource, self.version, BATCH)?;
        let more = changes.len() == BATCH;
        self.version = match changes.last() {
            Some(last) if more => last.version,
            _ => store.version(),
        };
        let events = changes.iter().filter_map(|change| tell(&self.selector, change));
        Ok((events.collect(), more))
    }

    /// Told up to here.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// What a change is to someone who sees only what is selected.
fn tell(selector: &Selector, change: &Change) -> Option<Event> {
    let before = change
        .before
        .as_ref()
        .is_some_and(|before| selector.matches(before));
    let now = !change.deleted && selector.matches(&change.object);
    let event = |kind, object| Some(Event { kind, object });
    match (before, now, &change.before) {
        (false, false, _) => None,
        (false, true, _) => event(Kind::Added, change.object.clone()),
        (true, true, _) => event(Kind::Modified, change.object.clone()),
        // The last content that was selected, at the version at which it no longer was.
        (true, false, Some(last)) if !change.deleted => {
            event(Kind::Deleted, Arc::new(last.at_version(change.version)))
        }
        (true, false, _) => event(Kind::Deleted, change.object.clone()),
    }
}

#[cfg(test)]
mod tests;

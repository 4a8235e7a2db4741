//! Lists: which objects, at which version, in which pieces.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::{Answer, Failure};
use super::hex;
use super::object::Object;
use super::query::Query;
use super::resource::Resource;
use super::selector::Selector;
use super::store::{Objects, Store};

/// What a list holds.
#[derive(Debug)]
pub struct Listing {
    /// Version of the whole.
    pub version: u64,
    /// The objects, by key.
    pub objects: Vec<Arc<Object>>,
    continuation: Option<String>,
    /// How many more there are, where that is known.
    remaining: Option<usize>,
}

/// Where a list goes on. Version 0 is an inconsistent rest: of what is there when it is asked for.
#[derive(Debug, Deserialize, Serialize)]
struct Token {
    rv: u64,
    start: String,
}

impl Token {
    fn encode(&self) -> String {
        hex::encode(&serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&hex::decode(text)?).ok()
    }
}

/// Answers a list as 1.28 does. `cached` is the version the watch cache is at, which lists with
/// `resourceVersion=0` are served from.
pub fn list(
    store: &Store,
    resource: &Resource,
    selector: &Selector,
    query: &Query,
    cached: u64,
) -> Answer<Listing> {
    if query.names_initial_events() {
        const WHAT: &str = "Forbidden: sendInitialEvents is forbidden for list";
        return Err(Failure::invalid_options("ListOptions", "sendInitialEvents", WHAT));
    }
    check_match(query)?;
    let limit = query.limit()?;
    if !query.continuation.is_empty() {
        return resume(store, resource, selector, query, limit);
    }
    let (current, exact) = (store.version(), query.resource_version_match == "Exact");
    match query.version()? {
        Some(version) if exact || (version > 0 && limit > 0 && query.resource_version_match.is_empty()) => {
            let objects = at(store, resource, version)?;
            Ok(cut(&objects, version, None, selector, limit))
        }
        Some(0) => {
            let objects = at(store, resource, cached)?;
            Ok(cut(&objects, cached, None, selector, 0))
        }
        Some(version) if version > current => Err(Failure::too_large(version, current)),
        // The newest, or at least as new: with a limit from etcd, without one from the cache. Both are up to date.
        _ => Ok(cut(store.objects(resource), current, None, selector, limit)),
    }
}

fn check_match(query: &Query) -> Answer<()> {
    let refuse = |what: &str| {
        Err(Failure::invalid_options(
            "ListOptions",
            "resourceVersionMatch",
            what,
        ))
    };
    match query.resource_version_match.as_str() {
        "" => Ok(()),
        _ if !query.continuation.is_empty() => {
            refuse("Forbidden: resourceVersionMatch is forbidden when continue is provided")
        }
        _ if query.resource_version.is_empty() => {
            refuse("Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        "Exact" if query.resource_version == "0" => {
            refuse("Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        "Exact" | "NotOlderThan" => Ok(()),
        other => refuse(&format!(
            "Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
        )),
    }
}

fn at<'a>(store: &'a Store, resource: &Resource, version: u64) -> Answer<Cow<'a, Objects>> {
    if version > store.version() {
        return Err(Failure::too_large(version, store.version()));
    }
    store
        .objects_at(resource, version)
        .ok_or_else(|| Failure::expired("The resourceVersion for the provided list is too old."))
}

fn resume(
    store: &Store,
    resource: &Resource,
    selector: &Selector,
    query: &Query,
    limit: usize,
) -> Answer<Listing> {
    const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can \
        start a new list without the continue parameter, or use the continue token in this response to retrieve the \
        remainder of the results. Continuing with the provided token results in an inconsistent list - objects that \
        were created, modified, or deleted between the time the first chunk was returned and now may show up in the \
        list.";
    if query.version()?.is_some_and(|version| version > 0) {
        return Err(Failure::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let token = Token::decode(&query.continuation).ok_or_else(|| {
        Failure::bad_request("continue key is not valid: encoded continue token is not understood")
    })?;
    if token.rv == 0 {
        let objects = store.objects(resource);
        return Ok(cut(objects, store.version(), Some(&token.start), selector, limit));
    }
    let Some(objects) = store.objects_at(resource, token.rv) else {
        let mut failure = Failure::expired(EXPIRED);
        failure.continuation = Some(Token { rv: 0, ..token }.encode());
        return Err(failure);
    };
    Ok(cut(&objects, token.rv, Some(&token.start), selector, limit))
}

/// Up to `limit` objects after the key `after`.
fn cut(objects: &Objects, version: u64, after: Option<&str>, selector: &Selector, limit: usize) -> Listing {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = objects
        .range::<str, _>((start, Bound::Unbounded))
        .filter(|(_, object)| selector.matches(object))
        .map(|(_, object)| object.clone());
    let most = if limit == 0 { usize::MAX } else { limit };
    let piece: Vec<_> = rest.by_ref().take(most).collect();
    let remaining = rest.count();
    let last = piece.last().filter(|_| remaining > 0).map(|object| object.key());
    Listing {
        version,
        objects: piece,
        continuation: last.map(|start| Token { rv: version, start }.encode()),
        // etcd only counts keys: with selectors it can't tell.
        remaining: (remaining > 0 && selector.selects_all()).then_some(remaining),
    }
}

impl Listing {
    /// The body of the answer.
    #[must_use]
    pub fn body(&self, resource: &Resource) -> Vec<u8> {
        let mut metadata = serde_json::json!({"resourceVersion": self.version.to_string()});
        match &self.continuation {
            Some(token) => metadata["continue"] = token.as_str().into(),
            // Custom resources have no Go type that would leave it out.
            None if resource.custom => metadata["continue"] = "".into(),
            None => {}
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = Value::from(remaining);
        }
        let (kind, api_version) = (resource.kind, resource.api_version());
        let head =
            format!(r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{metadata},"items":["#);
        let mut body = head.into_bytes();
        for (index, object) in self.objects.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            object.write_item(&mut body);
        }
        body.extend_from_slice(b"]}\n");
        body
    }
}

#[cfg(test)]
mod tests;

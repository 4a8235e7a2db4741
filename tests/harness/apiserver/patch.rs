//! Patches in all their formats.

use std::sync::Arc;

use serde_json::Value;

use super::failure::{Answer, Failure};
use super::object::Object;
use super::query::Query;
use super::route::Target;
use super::store::Store;
use super::write::{self, Writer};

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Patches the object at the target; says whether it was made by that, which only an apply does.
pub fn patch(
    store: &mut Store,
    target: &Target,
    format: &str,
    body: &[u8],
    _query: &Query,
    writer: &Writer,
) -> Answer<(Arc<Object>, bool)> {
    let format = format.split(';').next().unwrap_or_default().trim();
    let old = write::find(store, target)?;
    let mut value = old.value();
    value["kind"] = target.resource.kind.into();
    value["apiVersion"] = target.resource.api_version().into();
    match format {
        JSON => {
            let patch: json_patch::Patch = json(body)?;
            json_patch::patch(&mut value, &patch)
                .map_err(|error| Failure::invalid(target.resource, &old.name, "patch", &error.to_string()))?;
        }
        MERGE => json_patch::merge(&mut value, &json(body)?),
        _ => return Err(Failure::unsupported_media_type(&[JSON, MERGE, STRATEGIC, APPLY])),
    }
    write::replace(store, target, value, writer).map(|object| (object, false))
}

fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Answer<T> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))
}

/// YAML, of which JSON is a part.
pub fn yaml(body: &[u8]) -> Answer<Value> {
    serde_saphyr::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))
}

//! Patches in all their formats.

use std::sync::Arc;

use serde_json::Value;

use super::apply::apply;
use super::failure::{Answer, Failure};
use super::object::Object;
use super::query::Query;
use super::route::Target;
use super::store::Store;
use super::strategic;
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
    query: &Query,
    writer: &Writer,
) -> Answer<(Arc<Object>, bool)> {
    let format = format.split(';').next().unwrap_or_default().trim();
    if format == APPLY {
        if query.field_manager.is_empty() {
            const WHAT: &str = "Required value: is required for apply patch";
            return Err(Failure::invalid_options("PatchOptions", "fieldManager", WHAT));
        }
        return apply(store, target, yaml(body)?, query.force(), writer);
    }
    if query.names_force() {
        const WHAT: &str = "Forbidden: may not be specified for non-apply patch";
        return Err(Failure::invalid_options("PatchOptions", "force", WHAT));
    }
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
        STRATEGIC if !target.resource.custom => strategic::merge(target.resource, &mut value, &json(body)?)?,
        _ if target.resource.custom => return Err(Failure::unsupported_media_type(&[JSON, MERGE, APPLY])),
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

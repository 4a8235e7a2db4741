//! JSON and YAML, in the shape of Kubernetes' own objects.

use mesh_common::names::DOMAIN;
use serde::Serialize;

use crate::cli::failure::Failure;

/// Version of the shape of what is written below.
fn api_version() -> String {
    format!("{DOMAIN}/v1alpha1")
}

/// A list of objects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List<'a, T> {
    api_version: String,
    kind: String,
    items: &'a [T],
}

impl<'a, T> List<'a, T> {
    /// A list of objects of a kind.
    pub fn new(kind: &str, items: &'a [T]) -> Self {
        Self {
            api_version: api_version(),
            kind: format!("{kind}List"),
            items,
        }
    }
}

/// One object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct One<'a, T> {
    api_version: String,
    kind: &'a str,
    #[serde(flatten)]
    value: &'a T,
}

impl<'a, T> One<'a, T> {
    /// An object of a kind.
    pub fn new(kind: &'a str, value: &'a T) -> Self {
        Self {
            api_version: api_version(),
            kind,
            value,
        }
    }
}

/// An object on a line of its own, for streams.
pub fn json_line(kind: &str, value: &impl Serialize) -> String {
    // What is streamed was read from JSON, so it has a JSON form.
    serde_json::to_string(&One::new(kind, value)).unwrap_or_default()
}

/// An object as one document of a YAML stream; ends with a newline.
pub fn yaml_item(kind: &str, value: &impl Serialize) -> String {
    yaml(&One::new(kind, value)).unwrap_or_default()
}

/// As JSON.
///
/// # Errors
/// Where a value has no JSON form.
pub fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::failed(format!("writing JSON: {error}")))
}

/// As YAML.
///
/// # Errors
/// Where a value has no YAML form.
pub fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(value);
    text.map_err(|error| Failure::failed(format!("writing YAML: {error}")))
}

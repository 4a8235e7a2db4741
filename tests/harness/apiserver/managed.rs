//! `metadata.managedFields`: which manager set which fields.

use serde_json::Value;

use super::resource::Resource;
use super::write::Writer;

/// Notes what an update changed as the writer's.
pub fn update(_resource: &Resource, _before: &Value, _value: &mut Value, _writer: &Writer) {}

/// Whether two versions differ in nothing but when managers wrote.
#[must_use]
pub fn same(before: &Value, value: &Value) -> bool {
    fn timeless(value: &Value) -> Value {
        let mut value = value.clone();
        for field in ["kind", "apiVersion"] {
            if let Some(map) = value.as_object_mut() {
                map.remove(field);
            }
        }
        for entry in value["metadata"]["managedFields"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            entry["time"].take();
        }
        value
    }
    timeless(before) == timeless(value)
}

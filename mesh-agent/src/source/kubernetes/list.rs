//! A list, read as it comes in: a cluster's pods are hundreds of megabytes of JSON, of which little is kept. One
//! object at a time is in memory.

use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::item::Version;

/// Reads a list, hands out each object, and returns the version of the whole.
///
/// # Errors
/// Where it ends too early, or is no list. What was handed out until then is not the whole.
pub fn read(from: impl Read, each: impl FnMut(&RawValue)) -> Result<Version, serde_json::Error> {
    let mut document = serde_json::Deserializer::from_reader(from);
    let version = List(each).deserialize(&mut document)?;
    document.end()?;
    Ok(version)
}

/// The list as a whole.
struct List<F>(F);

impl<'de, F: FnMut(&RawValue)> DeserializeSeed<'de> for List<F> {
    type Value = Version;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Version, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&RawValue)> Visitor<'de> for List<F> {
    type Value = Version;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Version, A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            resource_version: String,
        }
        let (mut version, mut items) = (None, false);
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "metadata" => version = Some(fields.next_value::<Metadata>()?.resource_version),
                "items" => {
                    fields.next_value_seed(Items(&mut self.0))?;
                    items = true;
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        if !items {
            return Err(A::Error::missing_field("items"));
        }
        version
            .map(Version)
            .ok_or_else(|| A::Error::missing_field("metadata"))
    }
}

/// Its objects.
struct Items<'a, F>(&'a mut F);

impl<'de, F: FnMut(&RawValue)> DeserializeSeed<'de> for Items<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&RawValue)> Visitor<'de> for Items<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects, or null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<Box<RawValue>>()? {
            (self.0)(&item);
        }
        Ok(())
    }

    /// An empty list of Go's.
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> (Vec<String>, Result<Version, String>) {
        let mut items = Vec::new();
        let version = read(text.as_bytes(), |item| items.push(item.get().to_owned()));
        (items, version.map_err(|error| error.to_string()))
    }

    #[test]
    fn objects_come_as_they_are_in_any_order_of_the_fields() {
        for text in [
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"a":1},{"b":[]}]}"#,
            r#"{"items":[{"a":1},{"b":[]}],"metadata":{"resourceVersion":"7","remainingItemCount":1}}"#,
        ] {
            let (items, version) = items(text);
            assert_eq!(items, [r#"{"a":1}"#, r#"{"b":[]}"#]);
            assert_eq!(version, Ok(Version("7".into())));
        }
    }

    #[test]
    fn an_empty_list_may_be_null() {
        for text in [
            r#"{"metadata":{"resourceVersion":"7"},"items":null}"#,
            r#"{"metadata":{"resourceVersion":"7"},"items":[]}"#,
        ] {
            assert_eq!(items(text), (vec![], Ok(Version("7".into()))));
        }
    }

    #[test]
    fn what_is_cut_short_or_no_list_is_an_error() {
        let whole = r#"{"metadata":{"resourceVersion":"7"},"items":[{"a":1},{"b":[]}]}"#;
        for end in 0..whole.len() {
            assert!(items(&whole[..end]).1.is_err(), "{}", &whole[..end]);
        }
        for text in [
            "[]",
            r#"{"items":[]}"#,
            r#"{"metadata":{"resourceVersion":"7"}}"#,
            r#"{"metadata":{},"items":[]}"#,
            r#"{"metadata":{"resourceVersion":"7"},"items":[]} x"#,
        ] {
            assert!(items(text).1.is_err(), "{text}");
        }
    }
}

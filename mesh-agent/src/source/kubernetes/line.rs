//! A line of a watch: something that happened.

use std::borrow::Cow;
use std::sync::Arc;

use kube::core::Status;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::item::{Identity, Item, Version};
use super::resource::Resource;
use crate::model::object::ObjectRef;

/// What a line says.
#[derive(Debug)]
pub enum Line {
    /// An object is there, or changed.
    Upsert(Item),
    /// An object is gone.
    Delete(Tombstone),
    /// Nothing changed up to this version.
    Bookmark(Version),
    /// The watch is over, and why.
    Error(Box<Status>),
    /// Something that newer servers say.
    Other(String),
}

/// An object that is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tombstone {
    /// Which object it was.
    pub reference: ObjectRef,
    /// Tells it from others that had the name.
    pub uid: Option<Arc<str>>,
    /// When it went.
    pub version: Version,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// Where it is no event at all: a line that was cut, mostly. An object that can't be used is no error.
    pub fn read(resource: Resource, text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(rename = "type", borrow)]
            what: Cow<'a, str>,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let Raw { what, object } = serde_json::from_str(text)?;
        Ok(match &*what {
            "ADDED" | "MODIFIED" => Self::Upsert(resource.item(object)),
            "DELETED" => {
                let identity = Identity::of(object)?;
                Self::Delete(Tombstone {
                    reference: resource.reference(&identity),
                    version: identity.version(),
                    uid: identity.uid.map(Arc::from),
                })
            }
            "BOOKMARK" => Self::Bookmark(Identity::of(object)?.version()),
            "ERROR" => Self::Error(Box::new(Status::deserialize(object)?)),
            other => Self::Other(other.to_owned()),
        })
    }

    /// How new it is, where it says so.
    #[must_use]
    pub const fn version(&self) -> Option<&Version> {
        match self {
            Self::Upsert(item) => Some(&item.version),
            Self::Delete(gone) => Some(&gone.version),
            Self::Bookmark(version) => Some(version),
            Self::Error(_) | Self::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_understood() {
        let read = |text: &str| Line::read(Resource::Pods, text);
        let pod = |what| {
            format!(
                r#"{{"type":"{what}","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"a","namespace":"n","uid":"u","resourceVersion":"7"}}}}}}"#
            )
        };
        for what in ["ADDED", "MODIFIED"] {
            assert!(
                matches!(read(&pod(what)), Ok(Line::Upsert(item)) if item.version.0 == "7" && item.object.is_ok())
            );
        }
        assert!(matches!(read(&pod("DELETED")), Ok(Line::Delete(it)) if it.uid.as_deref() == Some("u")));
        assert!(matches!(read(&pod("BOOKMARK")), Ok(Line::Bookmark(version)) if version.0 == "7"));
        assert!(matches!(read(&pod("MIGRATED")), Ok(Line::Other(_))));
        let error = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"#;
        assert!(matches!(read(error), Ok(Line::Error(status)) if status.code == 410));
        for end in 0..pod("ADDED").len() {
            assert!(read(&pod("ADDED")[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn an_object_that_can_not_be_used_is_named() {
        let text = r#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7"},"status":{"podIP":5}}}"#;
        let Ok(Line::Upsert(item)) = Line::read(Resource::Pods, text) else {
            panic!("an event");
        };
        assert_eq!(item.reference.to_string(), "Pod n/a");
        assert_eq!((item.uid.as_deref(), item.version.0.as_str()), (Some("u"), "7"));
        let why = item.object.unwrap_err().to_string();
        assert!(why.starts_with("Pod n/a: status.podIP: "), "{why}");
    }
}

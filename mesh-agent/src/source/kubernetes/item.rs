//! One object as the API server sends it.

use std::sync::Arc;

use k8s_openapi::{Metadata, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::resource::Resource;
use crate::model::object::{Invalid, Object, ObjectRef};
use crate::source::read::{self, Unfit};

/// An object, and what tells it from others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// Which object it is.
    pub reference: ObjectRef,
    /// Tells it from others that had the name before.
    pub uid: Option<Arc<str>>,
    /// How new it is.
    pub version: Version,
    /// The object, or why it can't be used.
    pub object: Result<Object, Unfit>,
}

/// A resource version. They are opaque strings that go back to the server as they are; those of API servers are
/// numbers, and then tell which is newer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Version(pub String);

impl Version {
    /// Whether this one is surely older than another.
    #[must_use]
    pub fn is_before(&self, other: u64) -> bool {
        self.number().is_some_and(|own| own < other)
    }

    /// The number, where it is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.0.parse().ok()
    }
}

/// What tells an object from others.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Identity {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: Option<String>,
    resource_version: String,
}

impl Identity {
    /// Reads nothing else of a document.
    pub(super) fn of(document: &RawValue) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Named {
            metadata: Identity,
        }
        Named::deserialize(document).map(|named| named.metadata)
    }

    pub(super) fn version(&self) -> Version {
        Version(self.resource_version.clone())
    }

    fn taken(metadata: &ObjectMeta) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Self {
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            uid: metadata.uid.clone(),
            resource_version: text(&metadata.resource_version),
        }
    }

    /// Whatever a document says that can't be read otherwise.
    fn guessed(document: &RawValue) -> Self {
        let tree = Value::deserialize(document).unwrap_or_default();
        let text = |field: &str| tree.get("metadata")?.get(field)?.as_str();
        let owned = |field| text(field).unwrap_or_default().to_owned();
        Self {
            namespace: owned("namespace"),
            name: owned("name"),
            uid: text("uid").map(str::to_owned),
            resource_version: owned("resourceVersion"),
        }
    }
}

/// Reads an object of a type of the API.
pub(super) fn item<A, T>(resource: Resource, document: &RawValue) -> Item
where
    A: DeserializeOwned + k8s_openapi::Resource + Metadata<Ty = ObjectMeta>,
    T: TryFrom<A, Error = Invalid> + Into<Object>,
{
    let (identity, object) = match read::typed::<A, _>(document) {
        Ok(typed) => (Identity::taken(typed.metadata()), read::checked::<A, T>(typed)),
        Err(unfit) => (Identity::guessed(document), Err(unfit)),
    };
    Item {
        // What was read shares its name with whoever keeps it.
        reference: match &object {
            Ok(object) => object.reference(),
            Err(_) => resource.reference(&identity),
        },
        uid: match &object {
            Ok(Object::Pod(pod)) if pod.has_uid => Some(pod.key.uid.clone()),
            _ => identity.uid.as_deref().map(Arc::from),
        },
        version: identity.version(),
        object,
    }
}

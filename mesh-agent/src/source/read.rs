//! From a document, of a file or of the API server, to an object of the mesh: the same for both.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::model::object::{Invalid, Object};

/// Why a document is no object that the mesh can use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// A field of the wrong type.
    #[error("{object}: {field}: {reason}")]
    Type {
        /// The object.
        object: String,
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A field that does not say what it should.
    #[error(transparent)]
    Invalid(Box<Invalid>),
}

impl Unfit {
    /// Path of the field that is wrong.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Type { field, .. } => field,
            Self::Invalid(invalid) => &invalid.field,
        }
    }
}

/// Reads a document as a type of the Kubernetes API. Paths are costly to keep track of, so they are only on a
/// second try.
pub(super) fn typed<'de, A, D>(document: D) -> Result<A, Unfit>
where
    A: DeserializeOwned + k8s_openapi::Resource,
    D: Deserializer<'de, Error = serde_json::Error> + Copy,
{
    A::deserialize(document).or_else(|_| {
        serde_path_to_error::deserialize(document).map_err(|error| Unfit::Type {
            object: describe(&Value::deserialize(document).unwrap_or_default(), A::KIND),
            field: error.path().to_string(),
            reason: error.into_inner().to_string(),
        })
    })
}

/// Checks an object of the API, and takes of it what the mesh uses.
pub(super) fn checked<A, T>(typed: A) -> Result<Object, Unfit>
where
    T: TryFrom<A, Error = Invalid> + Into<Object>,
{
    let checked = T::try_from(typed).map_err(|invalid| Unfit::Invalid(Box::new(invalid)))?;
    Ok(checked.into())
}

/// Names an object that could not be read, as far as it can be named.
pub(super) fn describe(value: &Value, kind: &str) -> String {
    let text = |field: &str| value.get("metadata")?.get(field)?.as_str();
    let name = text("name").unwrap_or("(without a name)");
    match text("namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

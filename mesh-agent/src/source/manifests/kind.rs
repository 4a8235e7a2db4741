//! Turns the tree of a document into the objects it holds.

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Fault;
use crate::model::object::{EndpointSlice, Invalid, Namespace, NetworkPolicy, Node, Object, Pod, Service};
use crate::source::read;

/// The kinds that are read and the version each is read in.
const KINDS: [(&str, &str, Reader); 6] = [
    ("Namespace", "v1", read::<core::Namespace, Namespace>),
    ("Node", "v1", read::<core::Node, Node>),
    ("Pod", "v1", read::<core::Pod, Pod>),
    ("Service", "v1", read::<core::Service, Service>),
    (
        "EndpointSlice",
        "discovery.k8s.io/v1",
        read::<discovery::EndpointSlice, EndpointSlice>,
    ),
    (
        "NetworkPolicy",
        "networking.k8s.io/v1",
        read::<networking::NetworkPolicy, NetworkPolicy>,
    ),
];

type Reader = fn(&Value) -> Result<Object, Wrong>;

/// What one object of a document came to.
#[derive(Debug)]
pub(super) enum Item {
    /// An object of the mesh.
    Object(Object),
    /// An object of another kind.
    Other {
        /// Its API version.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// A mistake.
    Wrong(Wrong),
}

/// A mistake, and the field it is in.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) field: String,
    pub(super) fault: Fault,
}

/// The objects of a document: itself, or the items of a list.
pub(super) fn items(document: &Value) -> Vec<Item> {
    let mut items = Vec::new();
    collect(document, "", Items::Any, &mut items);
    items
}

/// What the items of a list are.
#[derive(Clone, Copy)]
enum Items<'a> {
    /// Each says itself.
    Any,
    /// All of one kind and version, as in a `ServiceList`.
    Of(&'a str, &'a str),
}

fn collect(value: &Value, path: &str, expected: Items<'_>, items: &mut Vec<Item>) {
    if value.is_null() {
        return;
    }
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let implied = match expected {
        Items::Of(kind, api_version) => Some((kind, api_version)),
        Items::Any => None,
    };
    let named = text("kind").zip(text("apiVersion"));
    let Some((kind, api_version)) = named.or(implied) else {
        items.push(Item::Wrong(Wrong {
            field: path.to_owned(),
            fault: Fault::NotAnObject,
        }));
        return;
    };
    if let Some(expected) = list(kind, api_version) {
        let each = value.get("items").and_then(Value::as_array).into_iter().flatten();
        for (index, item) in each.enumerate() {
            collect(item, &format!("{path}items[{index}]."), expected, items);
        }
        return;
    }
    items.push(match object(value, kind, api_version) {
        Item::Wrong(wrong) => Item::Wrong(Wrong {
            field: format!("{path}{}", wrong.field),
            ..wrong
        }),
        item => item,
    });
}

/// Whether a kind is a list: `List`, whose items say what they are, or a list of one kind.
fn list<'a>(kind: &'a str, api_version: &'a str) -> Option<Items<'a>> {
    let of = kind.strip_suffix("List")?;
    if of.is_empty() {
        return (api_version == "v1").then_some(Items::Any);
    }
    let known = KINDS
        .iter()
        .any(|(kind, version, _)| (*kind, *version) == (of, api_version));
    known.then_some(Items::Of(of, api_version))
}

fn object(value: &Value, kind: &str, api_version: &str) -> Item {
    let known = KINDS.iter().find(|(known, ..)| *known == kind);
    match known {
        Some((_, version, read)) if *version == api_version => {
            read(value).map_or_else(Item::Wrong, Item::Object)
        }
        Some((_, expected, _)) if of_kubernetes(api_version) => Item::Wrong(Wrong {
            field: "apiVersion".to_owned(),
            fault: Fault::Version {
                object: read::describe(value, kind),
                found: api_version.to_owned(),
                expected,
            },
        }),
        _ => Item::Other {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        },
    }
}

/// Whether a version is of Kubernetes' own groups; others have kinds of the same name with another
/// meaning (Knative has a Service).
fn of_kubernetes(api_version: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    !group.contains('.') || group.ends_with(".k8s.io")
}

fn read<A, T>(value: &Value) -> Result<Object, Wrong>
where
    A: DeserializeOwned + k8s_openapi::Resource,
    T: TryFrom<A, Error = Invalid> + Into<Object>,
{
    read::typed::<A, _>(value)
        .and_then(read::checked::<A, T>)
        .map_err(|unfit| Wrong {
            field: unfit.field().to_owned(),
            fault: Fault::Unfit(unfit),
        })
}

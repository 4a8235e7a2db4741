//! Which objects a command is about.

use std::fmt;

use super::{failure::Failure, held::Named, selector::Selector};
use crate::app::names::{Labels, Names};

/// The namespaces and labels a command is about.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    namespace: Option<String>,
    selector: Option<Selector>,
}

impl Scope {
    /// One namespace, or all.
    pub fn new(namespace: Option<String>) -> Self {
        Self {
            namespace,
            selector: None,
        }
    }

    /// The same, of the objects that a selector means.
    pub fn selecting(self, selector: Option<Selector>) -> Self {
        Self { selector, ..self }
    }

    /// Whether the selector means an object with these labels; one whose labels are not known it never means.
    pub fn selects(&self, labels: Option<&Labels<'_>>) -> bool {
        let Some(selector) = &self.selector else {
            return true;
        };
        labels.is_some_and(|labels| selector.matches(labels))
    }

    /// Makes sure that labels are known where a selector asks for them.
    ///
    /// # Errors
    /// Where no agent noted any.
    pub fn check(&self, names: &Names) -> Result<(), Failure> {
        if self.selector.is_some() && names.label_sets.is_none() {
            return Err(Failure::failed(
                "no labels are noted beside the names, so nothing can be selected: start mesh-agent, \
                 or point --run-dir at its directory",
            ));
        }
        Ok(())
    }

    /// The one namespace, if it is one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Reads the name of an object, as namespace and name.
    ///
    /// # Errors
    /// A usage error for an id, and where [`Self::reference`] has one.
    pub fn object(&self, kind: &str, text: &str) -> Result<(String, String), Failure> {
        match self.reference(kind, text)? {
            Reference::Object { namespace, name } => Ok((namespace, name)),
            Reference::Id(_) => Err(Failure::usage(format!("{kind} {text}: expected NS/NAME"))),
        }
    }

    /// Whether an object is in it. What has no name is in no namespace.
    pub fn has(&self, object: &Named) -> bool {
        let Some(wanted) = &self.namespace else {
            return true;
        };
        object.namespace.as_ref() == Some(wanted)
    }

    /// Whether the object is there and in it; without a namespace, objects that are not known count, too.
    pub fn has_known(&self, object: Option<&Named>) -> bool {
        object.map_or(self.namespace.is_none(), |object| self.has(object))
    }

    /// Reads what a user calls an object: `NS/NAME`, `NAME` within the namespace, `ID` or `id:ID`.
    ///
    /// # Errors
    /// A usage error where the namespace is missing, or said twice and differently.
    pub fn reference(&self, kind: &str, text: &str) -> Result<Reference, Failure> {
        if let Some(id) = text.strip_prefix("id:") {
            let id = id
                .parse()
                .map_err(|_| Failure::usage(format!("{kind} {text}: {id} is no id")))?;
            return Ok(Reference::Id(id));
        }
        let (namespace, name) = match (text.split_once('/'), &self.namespace) {
            (Some((namespace, _)), Some(scope)) if namespace != scope => {
                return Err(Failure::usage(format!(
                    "{kind} {text} is not in the namespace {scope}"
                )));
            }
            (Some(parts), _) => parts,
            (None, Some(scope)) => (scope.as_str(), text),
            (None, None) => {
                return text.parse().map(Reference::Id).map_err(|_| {
                    Failure::usage(format!(
                        "{kind} {text}: in which namespace? Write NS/{text} or add -n NS"
                    ))
                });
            }
        };
        if namespace.is_empty() || name.is_empty() {
            return Err(Failure::usage(format!("{kind} {text}: expected NS/NAME")));
        }
        Ok(Reference::Object {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// What a user calls an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reference {
    /// By its id in the kernel.
    Id(u32),
    /// By its name.
    Object {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
}

impl Reference {
    /// Whether it means this object.
    pub fn means(&self, object: &Named) -> bool {
        match self {
            Self::Id(id) => object.id == *id && *id != 0,
            Self::Object { namespace, name } => {
                object.namespace.as_ref() == Some(namespace) && object.name.as_ref() == Some(name)
            }
        }
    }

    /// Whether it means this object, if there is one.
    pub fn means_known(&self, object: Option<&Named>) -> bool {
        object.is_some_and(|object| self.means(object))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id:{id}"),
            Self::Object { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(namespace: Option<&str>, text: &str) -> Result<String, String> {
        let scope = Scope::new(namespace.map(Into::into));
        let reference = scope.reference("service", text);
        reference
            .map(|reference| reference.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn references_are_read_as_kubectl_users_write_them() {
        assert_eq!(read(None, "shop/web").unwrap(), "shop/web");
        assert_eq!(read(Some("shop"), "web").unwrap(), "shop/web");
        assert_eq!(read(Some("shop"), "shop/web").unwrap(), "shop/web");
        assert_eq!(read(None, "7").unwrap(), "id:7");
        assert_eq!(read(Some("shop"), "7").unwrap(), "shop/7");
        assert_eq!(read(Some("shop"), "id:7").unwrap(), "id:7");
    }

    #[test]
    fn wrong_references_say_what_is_missing() {
        assert_eq!(
            read(None, "web").unwrap_err(),
            "service web: in which namespace? Write NS/web or add -n NS"
        );
        assert_eq!(
            read(Some("a"), "b/web").unwrap_err(),
            "service b/web is not in the namespace a"
        );
        assert_eq!(read(None, "/web").unwrap_err(), "service /web: expected NS/NAME");
        assert_eq!(read(None, "id:x").unwrap_err(), "service id:x: x is no id");
    }

    #[test]
    fn without_labels_nothing_is_selected() {
        let scope = Scope::default().selecting(Some("!app".parse().unwrap()));
        assert!(scope.selects(Some(&Labels::new())));
        assert!(!scope.selects(Some(&[("app", "web")].into())));
        assert!(!scope.selects(None) && Scope::default().selects(None));
        let failure = scope.check(&Names::default()).unwrap_err();
        assert!(
            failure.to_string().starts_with("no labels are noted"),
            "{failure}"
        );
        assert_eq!(
            (failure.exit(), Scope::default().check(&Names::default())),
            (1, Ok(()))
        );
    }

    #[test]
    fn objects_without_a_name_are_in_no_namespace() {
        let unnamed = Named {
            id: 3,
            namespace: None,
            name: None,
        };
        assert!(Scope::default().has(&unnamed));
        assert!(!Scope::new(Some("shop".into())).has(&unnamed));
        assert!(Scope::default().has_known(None));
        assert!(!Scope::new(Some("shop".into())).has_known(None));
    }
}

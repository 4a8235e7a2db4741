//! What a path names.

use super::resource::{self, Resource};

/// A path the server answers to.
#[derive(Debug)]
pub enum Route {
    /// Objects, or one.
    Objects(Target),
    /// `/api`, `/apis/GROUP`, `/version`, `/healthz` and the like.
    Other(String),
}

/// Objects, or one.
#[derive(Clone, Debug)]
pub struct Target {
    /// Of this resource,
    pub resource: &'static Resource,
    /// in this namespace,
    pub namespace: Option<String>,
    /// of this name,
    pub name: Option<String>,
    /// this part of it: `status`, or of a pod `exec` and `log`.
    pub subresource: Option<String>,
}

impl Target {
    /// The resource as rules of roles and messages name it: `pods`, `pods/status`.
    #[must_use]
    pub fn plural(&self) -> String {
        match &self.subresource {
            Some(sub) => format!("{}/{sub}", self.resource.plural),
            None => self.resource.plural.into(),
        }
    }
}

/// Reads a path; `None` is a path of nothing.
#[must_use]
pub fn parse(path: &str) -> Option<Route> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Some(Route::Other(format!("/{}", parts.join("/")))),
    };
    // `namespaces/NAME` is a namespace; `namespaces/NAME/PLURAL` is something in it.
    let (namespace, rest) = match rest {
        ["namespaces", namespace, inside @ ..] if !matches!(inside, [] | ["status" | "finalize"]) => {
            (Some(*namespace), inside)
        }
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(*name), None),
        [plural, name, sub] => (*plural, Some(*name), Some(*sub)),
        _ => return None,
    };
    let resource = resource::find(group, version, plural)?;
    let fits = match namespace {
        Some(_) => resource.namespaced,
        None => !resource.namespaced || name.is_none(),
    };
    let known = match subresource {
        Some("status") => resource.has_status(),
        Some("exec" | "log") => resource.group.is_empty() && resource.plural == "pods",
        Some(_) => false,
        None => true,
    };
    (fits && known).then(|| {
        Route::Objects(Target {
            resource,
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
            subresource: subresource.map(Into::into),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<String> {
        match parse(path)? {
            Route::Other(path) => Some(path),
            Route::Objects(target) => {
                let text = |text: Option<String>| text.unwrap_or("-".into());
                Some(format!(
                    "{} {} {} {}",
                    target.resource,
                    text(target.namespace),
                    text(target.name),
                    text(target.subresource)
                ))
            }
        }
    }

    #[test]
    fn paths() {
        for (path, means) in [
            ("/api/v1/pods", Some("pods - - -")),
            ("/api/v1/namespaces", Some("namespaces - - -")),
            ("/api/v1/namespaces/a", Some("namespaces - a -")),
            ("/api/v1/namespaces/a/status", Some("namespaces - a status")),
            ("/api/v1/namespaces/a/pods", Some("pods a - -")),
            ("/api/v1/namespaces/a/pods/b", Some("pods a b -")),
            ("/api/v1/namespaces/a/pods/b/status", Some("pods a b status")),
            (
                "/apis/coordination.k8s.io/v1/leases",
                Some("leases.coordination.k8s.io - - -"),
            ),
            ("/api/v1/pods/b", None),
            ("/api/v1/namespaces/a/nodes", None),
            ("/api/v1/namespaces/a/pods/b/log", Some("pods a b log")),
            ("/api/v1/namespaces/a/pods/b/attach", None),
            ("/api/v1/namespaces/a/services/b/exec", None),
            ("/api/v1/namespaces/a/configmaps/b/status", None),
            ("/api/v1/things", None),
            ("/apis/", Some("/apis")),
            ("/api/v1", Some("/api/v1")),
            ("/version", Some("/version")),
        ] {
            assert_eq!(read(path).as_deref(), means, "{path}");
        }
    }
}

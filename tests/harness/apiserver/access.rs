//! Who is who, and who may not do what.

use std::collections::HashMap;

use serde::Deserialize;

use super::failure::{Answer, Failure};
use super::route::Target;

/// Members may do anything.
const MASTERS: &str = "system:masters";

/// Someone the server knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    /// Of the name and no group.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            groups: Vec::new(),
        }
    }

    /// Someone who may do anything.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            name: "kubernetes-admin".into(),
            groups: vec![MASTERS.into()],
        }
    }
}

/// What is refused to everybody but administrators. `None` stands for any.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Denial {
    /// `list`, `watch`, ...
    pub verb: Option<String>,
    /// Plural, and the subresource if there is one: `pods`, `pods/exec`.
    pub resource: Option<String>,
    /// Only in this namespace.
    pub namespace: Option<String>,
}

/// A rule of a role: who has it may do all of these verbs with all of these resources. `*` stands for any.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Groups of the API; the core group is empty.
    pub api_groups: Vec<String>,
    /// Plurals, or `plural/subresource`.
    pub resources: Vec<String>,
    /// Only objects of these names, which a request for many can't be.
    #[serde(default)]
    pub resource_names: Vec<String>,
    /// `list`, `watch`, ...
    pub verbs: Vec<String>,
}

impl Rule {
    /// The same, verb by verb and resource by resource.
    #[must_use]
    pub fn split(&self) -> Vec<Self> {
        let mut rules = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                let one = |verb: &String| Self {
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    resource_names: self.resource_names.clone(),
                    verbs: vec![verb.clone()],
                };
                rules.extend(self.verbs.iter().map(one));
            }
        }
        rules
    }

    fn allows(&self, verb: &str, target: &Target) -> bool {
        let among = |list: &[String], has: &str| list.iter().any(|item| item == has || item == "*");
        let named = |name: &String| self.resource_names.contains(name);
        among(&self.verbs, verb)
            && among(&self.api_groups, target.resource.group)
            && among(&self.resources, &target.plural())
            && (self.resource_names.is_empty() || target.name.as_ref().is_some_and(named))
    }
}

/// Credentials, what they are good for, and denials.
#[derive(Debug, Default)]
pub struct Access {
    tokens: HashMap<String, User>,
    certificates: HashMap<Vec<u8>, User>,
    denials: Vec<Denial>,
    /// By name; who is not in here may do anything.
    roles: HashMap<String, Vec<Rule>>,
}

impl Access {
    /// Takes a bearer token for a user.
    pub fn add_token(&mut self, token: &str, user: User) {
        self.tokens.insert(token.into(), user);
    }

    /// Takes a token no longer.
    pub fn remove_token(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    /// Takes a certificate, as it is sent, for a user.
    pub fn add_certificate(&mut self, der: &[u8], user: User) {
        self.certificates.insert(der.into(), user);
    }

    /// Refuses a user everything but this from now on.
    pub fn restrict(&mut self, user: &str, rules: Vec<Rule>) {
        self.roles.insert(user.into(), rules);
    }

    /// Refuses something from now on.
    pub fn deny(&mut self, denial: Denial) {
        self.denials.push(denial);
    }

    /// Refuses nothing from now on.
    pub fn allow_all(&mut self) {
        self.denials.clear();
    }

    /// Who sent a certificate, or else the header `Authorization`.
    pub fn authenticate(&self, certificate: Option<&[u8]>, authorization: Option<&str>) -> Answer<&User> {
        let by_certificate = certificate.and_then(|der| self.certificates.get(der));
        let by_token = || {
            let (scheme, token) = authorization?.split_once(' ')?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return None;
            }
            self.tokens.get(token.trim())
        };
        by_certificate.or_else(by_token).ok_or_else(Failure::unauthorized)
    }

    /// Whether the user may.
    pub fn authorize(&self, user: &User, verb: &str, target: &Target) -> Answer<()> {
        let resource = target.plural();
        let denied = |denial: &&Denial| {
            let fits = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|text| text == has);
            fits(&denial.verb, verb)
                && fits(&denial.resource, &resource)
                && fits(&denial.namespace, target.namespace.as_deref().unwrap_or_default())
        };
        let granted = |rules: &Vec<Rule>| rules.iter().any(|rule| rule.allows(verb, target));
        if user.groups.iter().any(|group| group == MASTERS)
            || self.roles.get(&user.name).is_none_or(granted)
                && !self.denials.iter().any(|denial| denied(&denial))
        {
            return Ok(());
        }
        let place = match &target.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".into(),
        };
        let what = format!(
            "User {:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
            user.name, target.resource.group
        );
        let name = target.name.as_deref().unwrap_or_default();
        Err(Failure::forbidden(target.resource, name, &what))
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::{Route, parse};
    use super::*;

    fn target(path: &str) -> Target {
        match parse(path) {
            Some(Route::Objects(target)) => target,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn a_denial_is_worded_like_the_real_servers() {
        let mut access = Access::default();
        access.deny(Denial {
            verb: Some("list".into()),
            resource: Some("pods".into()),
            namespace: None,
        });
        let user = User::named("system:serviceaccount:mesh:agent");
        let message = |verb: &str, path: &str| {
            let refused = access.authorize(&user, verb, &target(path));
            refused.err().map(|failure| failure.message)
        };
        assert_eq!(
            message("list", "/api/v1/pods").as_deref(),
            Some(
                "pods is forbidden: User \"system:serviceaccount:mesh:agent\" cannot list resource \"pods\" \
                 in API group \"\" at the cluster scope"
            )
        );
        assert_eq!(
            message("list", "/api/v1/namespaces/a/pods").as_deref(),
            Some(
                "pods is forbidden: User \"system:serviceaccount:mesh:agent\" cannot list resource \"pods\" \
                 in API group \"\" in the namespace \"a\""
            )
        );
        assert_eq!(message("watch", "/api/v1/pods"), None);
        assert_eq!(message("list", "/api/v1/nodes"), None);
        let pods = target("/api/v1/pods");
        assert_eq!(access.authorize(&User::admin(), "list", &pods), Ok(()));
    }

    #[test]
    fn who_has_rules_may_do_what_they_say_and_nothing_else() {
        let mut access = Access::default();
        let rule = |text: &str| serde_json::from_str(text).unwrap();
        access.restrict(
            "agent",
            vec![
                rule(r#"{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}"#),
                rule(r#"{"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"], "resourceNames": ["a"]}"#),
            ],
        );
        let may = |user: &str, verb: &str, path: &str| {
            access.authorize(&User::named(user), verb, &target(path)).is_ok()
        };
        assert!(may("agent", "list", "/api/v1/pods"));
        assert!(may("agent", "watch", "/api/v1/namespaces/a/pods"));
        assert!(may("agent", "patch", "/api/v1/nodes/a/status"));
        assert!(may("another", "delete", "/api/v1/pods"));
        for (verb, path) in [
            ("get", "/api/v1/namespaces/a/pods/b"),
            ("list", "/api/v1/nodes"),
            ("list", "/apis/discovery.k8s.io/v1/endpointslices"),
            ("patch", "/api/v1/nodes/a"),
            ("patch", "/api/v1/nodes/b/status"),
        ] {
            assert!(!may("agent", verb, path), "{verb} {path}");
        }
    }

    #[test]
    fn rules_are_split_into_single_ones() {
        let rule = r#"{"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["list", "watch"]}"#;
        let split = serde_json::from_str::<Rule>(rule).unwrap().split();
        let words = split
            .iter()
            .map(|rule| format!("{} {}", rule.verbs[0], rule.resources[0]));
        assert_eq!(
            words.collect::<Vec<_>>(),
            ["list pods", "watch pods", "list nodes", "watch nodes"]
        );
    }

    #[test]
    fn tokens_and_certificates() {
        let mut access = Access::default();
        access.add_token("old", User::named("a"));
        access.add_certificate(b"cert", User::named("b"));
        let name = |access: &Access, certificate: Option<&[u8]>, header| {
            let user = access.authenticate(certificate, header);
            user.map_or_else(|failure| failure.reason.to_owned(), |user| user.name.clone())
        };
        assert_eq!(name(&access, None, Some("Bearer old")), "a");
        assert_eq!(name(&access, Some(b"cert"), None), "b");
        assert_eq!(name(&access, None, Some("Basic old")), "Unauthorized");
        access.remove_token("old");
        assert_eq!(name(&access, None, Some("Bearer old")), "Unauthorized");
    }
}

//! How far the source is: the last version of each resource. One agent leaves it for the next, which must not begin with an
//! older view.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Resource, Version};

/// The last version of each resource, where one is known and a number.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Seen([Option<u64>; Resource::ALL.len()]);

impl Seen {
    /// Notes where a resource is now, which is before where it was if the server was set back. A version that is no number
    /// tells nothing: nobody could say which of two is newer.
    pub fn note(&mut self, resource: Resource, version: &Version) {
        if let Some(number) = number(&version.0) {
            self.0[resource as usize] = Some(number);
        }
    }

    /// The last version of a resource.
    #[must_use]
    pub fn version(&self, resource: Resource) -> Option<Version> {
        self.0[resource as usize].map(|number| Version(number.to_string()))
    }

    /// The resources of which this is before the other, or nothing is known here.
    pub fn behind(&self, other: &Self) -> impl Iterator<Item = Resource> {
        let both = Resource::ALL.into_iter().zip(self.0.into_iter().zip(other.0));
        // Nothing is before everything.
        both.filter(|(_, (own, other))| own < other)
            .map(|(resource, _)| resource)
    }
}

/// What is written in a file may be anything. 0 is any version to the server, and here no version.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&number| digits && number > 0)
}

impl From<BTreeMap<String, String>> for Seen {
    fn from(versions: BTreeMap<String, String>) -> Self {
        Self(Resource::ALL.map(|resource| number(versions.get(resource.name())?)))
    }
}

impl From<Seen> for BTreeMap<String, String> {
    fn from(seen: Seen) -> Self {
        let versions = Resource::ALL.into_iter().zip(seen.0);
        versions
            .filter_map(|(resource, number)| Some((resource.name().to_owned(), number?.to_string())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Seen {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn it_is_kept_as_text_and_only_numbers_count() {
        let mut it = Seen::default();
        it.note(Resource::Pods, &Version("12".into()));
        it.note(Resource::Services, &Version("x".into()));
        it.note(Resource::Nodes, &Version(String::new()));
        let text = serde_json::to_string(&it).unwrap();
        assert_eq!(text, r#"{"pods":"12"}"#);
        assert_eq!(seen(&text), it);
        // A server that was set back is believed.
        it.note(Resource::Pods, &Version("7".into()));
        assert_eq!(it.version(Resource::Pods), Some(Version("7".into())));
        for garbage in [
            "0",
            "-1",
            "+1",
            "1&x=y",
            "",
            " 1",
            "1e3",
            "99999999999999999999",
            "\u{661}",
        ] {
            let it = seen(&format!(r#"{{"pods":"{garbage}","wombats":"4"}}"#));
            assert_eq!(it, Seen::default(), "{garbage}");
        }
    }

    #[test]
    fn who_is_behind_is_told_resource_by_resource() {
        let table = [
            ("{}", "{}", &[][..]),
            (r#"{"pods":"5"}"#, "{}", &[]),
            ("{}", r#"{"pods":"5"}"#, &[Resource::Pods]),
            (r#"{"pods":"4"}"#, r#"{"pods":"5"}"#, &[Resource::Pods]),
            // As numbers, not as text.
            (r#"{"pods":"10"}"#, r#"{"pods":"9"}"#, &[]),
            (
                r#"{"pods":"5","nodes":"1"}"#,
                r#"{"pods":"5","nodes":"2"}"#,
                &[Resource::Nodes],
            ),
        ];
        for (own, other, behind) in table {
            let found: Vec<_> = seen(own).behind(&seen(other)).collect();
            assert_eq!(found, behind, "{own} {other}");
        }
    }
}

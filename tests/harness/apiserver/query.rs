//! What the query of a request asks for.

use serde::Deserialize;

use super::failure::{Answer, Failure};

/// Parameters of a request; those of other verbs are ignored, as the real server does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Query {
    watch: Option<String>,
    /// Labels of what is asked for.
    pub label_selector: String,
    /// Fields of what is asked for.
    pub field_selector: String,
    /// From when on, or how new; as it was written.
    pub resource_version: String,
    /// How `resource_version` is meant in a list.
    pub resource_version_match: String,
    limit: String,
    /// Where to go on.
    #[serde(rename = "continue")]
    pub continuation: String,
    timeout_seconds: String,
    allow_watch_bookmarks: String,
    send_initial_events: String,
    /// Who writes.
    pub field_manager: String,
    force: String,
    dry_run: String,
    grace_period_seconds: String,
}

impl Query {
    /// From the text after the question mark.
    pub fn parse(text: &str) -> Answer<Self> {
        let pairs = form_urlencoded::parse(text.as_bytes())
            .map(|(key, value)| (key.into_owned(), value.into_owned()));
        let map: serde_json::Map<_, _> = pairs.map(|(key, value)| (key, value.into())).collect();
        serde_json::from_value(map.into()).map_err(|error| Failure::bad_request(error.to_string()))
    }

    /// Whether changes are asked for.
    #[must_use]
    pub fn watch(&self) -> bool {
        self.watch.as_deref().is_some_and(yes)
    }

    /// Whether the watcher takes bookmarks.
    #[must_use]
    pub fn bookmarks(&self) -> bool {
        yes_if_given(&self.allow_watch_bookmarks)
    }

    /// Whether the watcher wants the list in the watch, or says that it does not.
    #[must_use]
    pub fn names_initial_events(&self) -> bool {
        !self.send_initial_events.is_empty()
    }

    /// Whether an apply takes fields from others.
    #[must_use]
    pub fn force(&self) -> bool {
        yes_if_given(&self.force)
    }

    /// Whether it says so, or that it does not.
    #[must_use]
    pub fn names_force(&self) -> bool {
        !self.force.is_empty()
    }

    /// Whether nothing shall be written.
    #[must_use]
    pub fn dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    /// Objects in an answer; 0 for all.
    pub fn limit(&self) -> Answer<usize> {
        number("limit", &self.limit).map(Option::unwrap_or_default)
    }

    /// How long the watch may last.
    pub fn timeout_seconds(&self) -> Answer<Option<u64>> {
        number("timeoutSeconds", &self.timeout_seconds)
    }

    /// Seconds until a deleted pod is to be gone.
    pub fn grace_period_seconds(&self) -> Answer<Option<u64>> {
        number("gracePeriodSeconds", &self.grace_period_seconds)
    }

    /// The version, unless none or any will do (`0`).
    pub fn version(&self) -> Answer<Option<u64>> {
        match self.resource_version.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!(
                    "Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ))
            }),
        }
    }
}

fn yes_if_given(text: &str) -> bool {
    !text.is_empty() && yes(text)
}

/// As the server reads booleans: anything but `false` and `0`.
fn yes(text: &str) -> bool {
    !["false", "0"].contains(&text.to_ascii_lowercase().as_str())
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Answer<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|_| Failure::bad_request(format!("{name}: {text:?} is no whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query =
            Query::parse("watch=true&labelSelector=a%3Db%2Cc+in+%28d%29&limit=5&resourceVersion=7&pretty=1");
        let query = query.expect("well formed");
        assert!(query.watch() && !query.bookmarks() && !query.force());
        assert_eq!(query.label_selector, "a=b,c in (d)");
        assert_eq!(query.limit(), Ok(5));
        assert_eq!(query.version(), Ok(Some(7)));
        let query = Query::parse("watch=0&limit=x&resourceVersion=x").expect("well formed");
        assert!(!query.watch() && query.limit().is_err() && query.version().is_err());
    }
}

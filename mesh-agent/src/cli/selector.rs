//! Label selectors as `kubectl -l` takes them (`k8s.io/apimachinery/pkg/labels`): requirements separated by
//! commas, all of which must hold.

mod parse;

use std::str::FromStr;

use thiserror::Error;

use crate::app::names::Labels;

/// Which objects are meant, by their labels.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selector(Vec<Requirement>);

/// What is asked of one label.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Test {
    /// `key`.
    Exists,
    /// `!key`.
    Missing,
    /// `key=a`, `key==a`, `key in (a,b)`.
    In(Vec<String>),
    /// `key!=a`, `key notin (a,b)`; an object without the label passes.
    NotIn(Vec<String>),
}

/// Why a text is no selector.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0}")]
pub struct SelectorError(String);

impl Selector {
    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels<'_>) -> bool {
        let value = labels.get(self.key.as_str()).copied();
        let is_in = |values: &[String]| value.is_some_and(|value| values.iter().any(|it| it == value));
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => is_in(values),
            Test::NotIn(values) => !is_in(values),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        parse::requirements(text).map(Self)
    }
}

#[cfg(test)]
mod tests;

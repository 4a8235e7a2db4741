//! Label selectors with all their operators.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::super::Labels;
use super::super::field;
use super::super::invalid::{At, Fault, Misfit};

/// What labels must be like. Without requirements, every object is selected.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Selector(BTreeSet<(String, Requirement)>);

/// What one label must be like.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Requirement {
    /// It is there and has one of these values.
    In(BTreeSet<String>),
    /// It has none of these values, or is not there.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
        }
    }
}

impl Selector {
    /// Whether it selects what has these labels.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let holds = |(key, requirement): &(String, Requirement)| requirement.holds(labels.get(key));
        self.0.iter().all(holds)
    }

    /// What it asks for, each with the label that is meant, in their order.
    pub fn requirements(&self) -> impl Iterator<Item = (&str, &Requirement)> {
        self.0
            .iter()
            .map(|(key, requirement)| (key.as_str(), requirement))
    }

    /// Labels of which every object it selects has one, for an index; `None` where it does not ask for any values.
    #[must_use]
    pub fn pairs(&self) -> Option<impl Iterator<Item = (&str, &str)>> {
        self.0.iter().find_map(|(key, requirement)| match requirement {
            Requirement::In(values) => Some(values.iter().map(|value| (key.as_str(), value.as_str()))),
            _ => None,
        })
    }

    pub(super) fn of<S>(selector: LabelSelector, path: impl Fn() -> S) -> Result<Self, Misfit>
    where
        S: Into<String>,
    {
        let labels = selector.match_labels.unwrap_or_default().into_iter();
        let mut all: BTreeSet<_> = labels
            .map(|(key, value)| (key, Requirement::In([value].into())))
            .collect();
        for (index, it) in selector.match_expressions.into_iter().flatten().enumerate() {
            let path = |field| format!("{}.matchExpressions[{index}].{field}", path().into());
            if it.key.is_empty() {
                return Err(Fault::Missing).at(|| path("key"));
            }
            let requirement = requirement(&it, path)?;
            all.insert((it.key, requirement));
        }
        Ok(Self(all))
    }
}

fn requirement(
    it: &LabelSelectorRequirement,
    path: impl Fn(&'static str) -> String,
) -> Result<Requirement, Misfit> {
    let values: BTreeSet<String> = it.values.iter().flatten().cloned().collect();
    let known = [
        ("In", (Requirement::In as fn(_) -> _, true)),
        ("NotIn", (Requirement::NotIn, true)),
        ("Exists", (|_| Requirement::Exists, false)),
        ("DoesNotExist", (|_| Requirement::DoesNotExist, false)),
    ];
    let operator = field::one_of(&it.operator, &known, "In, NotIn, Exists, DoesNotExist");
    let (requirement, with_values) = operator.at(|| path("operator"))?;
    match (with_values, values.is_empty()) {
        (true, true) => Err(Fault::Missing).at(|| path("values")),
        (false, false) => Err(Fault::OutOfPlace("this operator looks at no values")).at(|| path("values")),
        _ => Ok(requirement(values)),
    }
}

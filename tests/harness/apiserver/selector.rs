//! Label and field selectors.

use super::failure::{Answer, Failure};
use super::object::Object;
use super::resource::Resource;

/// Which objects a request is about.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Only this namespace.
    pub namespace: Option<String>,
    labels: Vec<Requirement>,
    fields: Vec<Field>,
}

/// One part of a label selector.
#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

#[derive(Clone, Debug)]
struct Field {
    place: Place,
    value: String,
    equal: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Name,
    Namespace,
    Selectable(usize),
}

impl Selector {
    /// From the texts of a query; an error names what is wrong.
    pub fn parse(resource: &Resource, namespace: Option<&str>, labels: &str, fields: &str) -> Answer<Self> {
        let labels = split(labels)
            .into_iter()
            .map(|part| {
                Requirement::parse(part).ok_or_else(|| {
                    Failure::bad_request(format!(
                        "unable to parse requirement: {part:?} is no label selector"
                    ))
                })
            })
            .collect::<Answer<_>>()?;
        let parts = fields.split(',').filter(|part| !part.is_empty());
        Ok(Self {
            namespace: namespace.map(Into::into),
            labels,
            fields: parts
                .map(|part| Field::parse(resource, part))
                .collect::<Answer<_>>()?,
        })
    }

    /// Whether it is about this one.
    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == object.namespace)
            && self.labels.iter().all(|requirement| requirement.holds(object))
            && self.fields.iter().all(|field| field.holds(object))
    }

    /// Whether it selects everything there is, or all of a namespace.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

impl Requirement {
    fn parse(text: &str) -> Option<Self> {
        let (key, what) = if let Some(key) = text.strip_prefix('!') {
            (key, What::Absent)
        } else if let Some((key, value)) = text.split_once("!=") {
            (key, What::NotIn(vec![value.trim().into()]))
        } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            (key, What::In(vec![value.trim().into()]))
        } else if let Some((left, values)) = text.split_once('(') {
            let values = values.strip_suffix(')')?.split(',');
            let values = values.map(|value| value.trim().to_owned()).collect();
            let (key, operator) = left.trim().rsplit_once(' ')?;
            match operator {
                "in" => (key, What::In(values)),
                "notin" => (key, What::NotIn(values)),
                _ => return None,
            }
        } else {
            (text, What::Exists)
        };
        let key = key.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        (!key.is_empty() && key.chars().all(plain)).then(|| Self {
            key: key.into(),
            what,
        })
    }

    fn holds(&self, object: &Object) -> bool {
        let label = object.labels.get(&self.key);
        match (&self.what, label) {
            (What::Exists, label) => label.is_some(),
            (What::Absent, label) => label.is_none(),
            (What::In(values), Some(label)) => values.contains(label),
            (What::In(_), None) => false,
            (What::NotIn(values), Some(label)) => !values.contains(label),
            (What::NotIn(_), None) => true,
        }
    }
}

impl Field {
    fn parse(resource: &Resource, text: &str) -> Answer<Self> {
        let (path, value, equal) = if let Some((path, value)) = text.split_once("!=") {
            (path, value, false)
        } else if let Some((path, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            (path, value, true)
        } else {
            return Err(Failure::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{text}'"
            )));
        };
        let place = match path {
            "metadata.name" => Place::Name,
            "metadata.namespace" if resource.namespaced => Place::Namespace,
            _ => match resource.selectable.iter().position(|known| *known == path) {
                Some(index) => Place::Selectable(index),
                None => {
                    return Err(Failure::bad_request(format!("field label not supported: {path}")));
                }
            },
        };
        Ok(Self {
            place,
            value: value.into(),
            equal,
        })
    }

    fn holds(&self, object: &Object) -> bool {
        let value = match self.place {
            Place::Name => &object.name,
            Place::Namespace => &object.namespace,
            Place::Selectable(index) => &object.selectable[index],
        };
        (*value == self.value) == self.equal
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resource::named;
    use super::*;

    fn selected(labels: &str, fields: &str) -> bool {
        let pods = named("pods").expect("known");
        let value = json!({
            "metadata": {"name": "a", "namespace": "n", "labels": {"app": "cart", "tier": "front"}},
            "spec": {"nodeName": "node1"}, "status": {"phase": "Running"},
        });
        Selector::parse(pods, Some("n"), labels, fields)
            .expect("well formed")
            .matches(&Object::new(pods, value, 1))
    }

    #[test]
    fn labels() {
        for yes in [
            "",
            "app",
            "!none",
            "app=cart",
            "app==cart,tier=front",
            "app in (x, cart)",
            "none notin (a,b)",
            "app!=x",
            "app in (cart),tier notin (back)",
        ] {
            assert!(selected(yes, ""), "{yes}");
        }
        for no in [
            "none",
            "!app",
            "app=x",
            "app in (x,y)",
            "app notin (cart,y)",
            "app!=cart",
            "app,tier=back",
        ] {
            assert!(!selected(no, ""), "{no}");
        }
    }

    #[test]
    fn fields() {
        for yes in [
            "metadata.name=a",
            "spec.nodeName=node1,status.phase!=Failed",
            "metadata.namespace==n",
        ] {
            assert!(selected("", yes), "{yes}");
        }
        for no in ["metadata.name=b", "spec.nodeName!=node1", "status.podIP=10.0.0.1"] {
            assert!(!selected("", no), "{no}");
        }
    }

    #[test]
    fn what_cannot_be_selected_is_refused() {
        let services = named("services").expect("known");
        let failure = Selector::parse(services, None, "", "spec.nodeName=a").expect_err("no such field");
        assert_eq!(failure.message, "field label not supported: spec.nodeName");
        for bad in ["a in b", "a near (b)", "a b"] {
            assert_eq!(Selector::parse(services, None, bad, "").expect_err(bad).code, 400);
        }
    }
}

//! Finds the line of a field, for messages. Costs a parse, so it is for the first few mistakes only.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::decode::options;

/// A step on the way to a field.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The line of a field, counted from 1 within `text`; of what it should be in, where it is not there.
pub(super) fn line(text: &str, field: &str) -> Option<u64> {
    let steps = steps(field);
    (0..=steps.len()).rev().find_map(|len| {
        let seed = Find(&steps[..len]);
        serde_saphyr::with_deserializer_from_str_with_options(text, options(text), |yaml| {
            seed.deserialize(yaml)
        })
        .ok()
        .flatten()
    })
}

/// The steps of a path such as `spec.ports[1].port` or `metadata.labels[a.b/c]`.
fn steps(field: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
            let (inner, after) = inner.split_once(']').unwrap_or((inner, ""));
            let key = || Step::Key(inner.to_owned());
            (inner.parse().map_or_else(|_| key(), Step::Index), after)
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            (Step::Key(rest[..end].to_owned()), &rest[end..])
        };
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    steps
}

/// Goes down a path and says on which line it ends.
#[derive(Clone, Copy)]
struct Find<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            let here = Spanned::<IgnoredAny>::deserialize(deserializer)?;
            Ok(Some(here.referenced.line()).filter(|&line| line > 0))
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or a sequence")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [Step::Key(wanted), rest @ ..] if *wanted == key => {
                    found = map.next_value_seed(Find(rest))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut at) = (None, 0);
        loop {
            let more = match self.0 {
                [Step::Index(wanted), rest @ ..] if *wanted == at => {
                    let element = seq.next_element_seed(Find(rest))?;
                    element.map(|line| found = line).is_some()
                }
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(found);
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "---\nkind: Service\nmetadata:\n  labels:\n    a.b/c: d\nspec:\n  ports:\n  - port: 1\n  - name: x\n    port: 2\n";

    #[test]
    fn fields_are_found_by_their_path() {
        for (field, expected) in [
            ("", Some(2)),
            ("kind", Some(2)),
            ("spec.ports[0].port", Some(8)),
            ("spec.ports[1].port", Some(10)),
            ("metadata.labels[a.b/c]", Some(5)),
        ] {
            assert_eq!(line(TEXT, field), expected, "{field}");
        }
    }

    #[test]
    fn what_is_missing_is_where_it_should_be() {
        for (field, expected) in [
            ("metadata.name", Some(4)),
            ("spec.ports[7].port", Some(8)),
            ("kind.x.y", Some(2)),
        ] {
            assert_eq!(line(TEXT, field), expected, "{field}");
        }
    }

    #[test]
    fn what_is_no_yaml_has_no_lines() {
        assert_eq!(line("a: [", "a"), None);
    }
}

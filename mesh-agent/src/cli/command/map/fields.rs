//! Keys and values as named fields, in an order that makes sense.

use std::fmt::{self, Display};

use serde::{Serialize, Serializer, ser::SerializeMap};

/// Named fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields(Vec<(&'static str, Scalar)>);

/// The value of a field.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A number.
    Number(u64),
    /// Text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

impl Fields {
    /// Adds a number.
    pub fn number(mut self, name: &'static str, value: impl Into<u64>) -> Self {
        self.0.push((name, Scalar::Number(value.into())));
        self
    }

    /// Adds text.
    pub fn text(mut self, name: &'static str, value: impl Display) -> Self {
        self.0.push((name, Scalar::Text(value.to_string())));
        self
    }

    /// Adds a yes or no.
    pub fn flag(mut self, name: &'static str, value: bool) -> Self {
        self.0.push((name, Scalar::Flag(value)));
        self
    }

    /// Adds text where there is some.
    pub fn maybe(self, name: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }
}

impl Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            match value {
                Scalar::Number(number) => write!(f, "{blank}{name}={number}")?,
                Scalar::Flag(flag) => write!(f, "{blank}{name}={flag}")?,
                Scalar::Text(text) => write!(f, "{blank}{name}={text}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order() {
        let fields = Fields::default()
            .text("pod", "shop/web")
            .maybe("peer", None::<u8>)
            .number("id", 3_u8)
            .flag("local", true);
        assert_eq!(fields.to_string(), "pod=shop/web id=3 local=true");
        assert_eq!(
            serde_json::to_string(&fields).unwrap(),
            r#"{"pod":"shop/web","id":3,"local":true}"#
        );
    }
}

//! From text to requirements.

use super::{Requirement, SelectorError, Test};

/// All requirements; none for an empty text, which selects everything.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut rest = Rest { text };
    let mut found = Vec::new();
    if rest.peek() == Token::End {
        return Ok(found);
    }
    loop {
        found.push(rest.requirement()?);
        match rest.next() {
            Token::End => return Ok(found),
            Token::Sign(",") => {}
            other => return Err(wrong(&format!("expected a comma or the end, found {other}"))),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'a> {
    /// A key, a value, or one of the words `in` and `notin`.
    Word(&'a str),
    Sign(&'a str),
    End,
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(text) | Self::Sign(text) => write!(f, "\"{text}\""),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Longer ones first.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", ",", "(", ")", "<", ">"];

/// What is not read yet.
#[derive(Clone, Copy)]
struct Rest<'a> {
    text: &'a str,
}

impl<'a> Rest<'a> {
    fn peek(self) -> Token<'a> {
        let mut ahead = self;
        ahead.next()
    }

    fn next(&mut self) -> Token<'a> {
        let text = self.text.trim_start();
        let sign = SIGNS.into_iter().find(|sign| text.starts_with(sign));
        let end = text.find(|letter: char| letter.is_whitespace() || "=!,()<>".contains(letter));
        let len = sign.map_or(end.unwrap_or(text.len()), str::len);
        let (token, rest) = text.split_at(len);
        self.text = rest;
        match (sign, token) {
            (Some(sign), _) => Token::Sign(sign),
            (None, "") => Token::End,
            (None, word) => Token::Word(word),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let missing = self.peek() == Token::Sign("!");
        if missing {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => label_key(key)?,
            other => return Err(wrong(&format!("expected the key of a label, found {other}"))),
        };
        let test = if missing { Test::Missing } else { self.test(&key)? };
        Ok(Requirement { key, test })
    }

    fn test(&mut self, key: &str) -> Result<Test, SelectorError> {
        match self.peek() {
            Token::End | Token::Sign(",") => return Ok(Test::Exists),
            _ => {}
        }
        match self.next() {
            Token::Sign("=" | "==") => Ok(Test::In(vec![self.value()?])),
            Token::Sign("!=") => Ok(Test::NotIn(vec![self.value()?])),
            Token::Word("in") => self.values(key).map(Test::In),
            Token::Word("notin") => self.values(key).map(Test::NotIn),
            Token::Sign(sign @ ("<" | ">")) => Err(wrong(&format!("{key}: {sign} is not supported here"))),
            other => Err(wrong(&format!(
                "{key}: expected =, ==, !=, in or notin, found {other}"
            ))),
        }
    }

    /// `(a,b)`; at least one, which may be empty.
    fn values(&mut self, key: &str) -> Result<Vec<String>, SelectorError> {
        let start = self.next();
        if start != Token::Sign("(") {
            return Err(wrong(&format!("{key}: expected ( and values, found {start}")));
        }
        if self.peek() == Token::Sign(")") {
            return Err(wrong(&format!("{key}: there must be a value between ( and )")));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            match self.next() {
                Token::Sign(")") => return Ok(values),
                Token::Sign(",") => {}
                other => return Err(wrong(&format!("{key}: expected a comma or ), found {other}"))),
            }
        }
    }

    /// A value; empty where nothing stands.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            Token::Word(value) => {
                self.next();
                label_value(value)
            }
            _ => Ok(String::new()),
        }
    }
}

fn wrong(why: &str) -> SelectorError {
    SelectorError(format!(
        "{why}; write it as app=web, tier!=db, app in (web,api), app notin (db), app or !app, separated by commas"
    ))
}

/// `[DOMAIN/]NAME` (Kubernetes, "Labels and Selectors", syntax and character set).
fn label_key(key: &str) -> Result<String, SelectorError> {
    let (domain, name) = key
        .split_once('/')
        .map_or((None, key), |(domain, name)| (Some(domain), name));
    let is_domain = |domain: &str| {
        let dns =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
        (1..=253).contains(&domain.len()) && domain.chars().all(dns)
    };
    if domain.is_none_or(is_domain) && !name.is_empty() && is_name(name) {
        Ok(key.to_owned())
    } else {
        Err(SelectorError(format!("\"{key}\" can't be the key of a label")))
    }
}

fn label_value(value: &str) -> Result<String, SelectorError> {
    if is_name(value) {
        Ok(value.to_owned())
    } else {
        Err(SelectorError(format!(
            "\"{value}\" can't be the value of a label"
        )))
    }
}

/// At most 63 letters, digits, dashes, underscores and dots, with a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().copied().all(inside) && end(bytes.first()) && end(bytes.last())
}

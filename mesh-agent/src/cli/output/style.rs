//! What the reader's terminal can show.

/// Marks and colours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Style {
    /// Somebody looks at a terminal.
    pub terminal: bool,
    unicode: bool,
    colour: bool,
}

impl Style {
    /// From where the answer goes and what the environment says (`NO_COLOR`, the locale).
    pub fn detect(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL")
            .or_else(|| set("LC_CTYPE"))
            .or_else(|| set("LANG"))
            .unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        Self {
            terminal,
            unicode: terminal && (locale.contains("utf-8") || locale.contains("utf8")),
            colour: terminal && !dumb && set("NO_COLOR").is_none(),
        }
    }

    /// The mark of what is right or wrong.
    pub fn mark(self, good: bool) -> String {
        let (text, colour) = match (self.unicode, good) {
            (true, true) => ("√", 32),
            (true, false) => ("×", 31),
            (false, true) => ("ok  ", 32),
            (false, false) => ("FAIL", 31),
        };
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(terminal: bool, environment: &[(&str, &str)]) -> (String, String) {
        let value = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let style = Style::detect(terminal, value);
        (style.mark(true), style.mark(false))
    }

    #[test]
    fn marks_suit_the_reader() {
        let utf8 = [("LANG", "C.UTF-8"), ("TERM", "xterm"), ("NO_COLOR", "1")];
        assert_eq!(marks(true, &utf8), ("√".into(), "×".into()));
        assert_eq!(marks(false, &utf8), ("ok  ".into(), "FAIL".into()));
        assert_eq!(
            marks(true, &[("LANG", "C"), ("TERM", "dumb")]),
            ("ok  ".into(), "FAIL".into())
        );
        assert_eq!(marks(true, &[("LC_ALL", "C"), ("LANG", "C.UTF-8")]).0, "ok  ");
        assert_eq!(
            marks(true, &[("LANG", "C"), ("TERM", "xterm")]).1,
            "\x1b[31mFAIL\x1b[0m"
        );
    }
}

//! Checks and how they are told.

use std::fmt::Display;

use serde::Serialize;

use crate::cli::{
    answer::Answer,
    args::Format,
    failure::Failure,
    output::{self, Detail, style::Style},
};

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Check {
    name: &'static str,
    /// Whether it is as it should be.
    pub good: bool,
    /// What was seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
}

impl Check {
    /// As it should be.
    pub fn good(name: &'static str, detail: impl Display) -> Self {
        Self {
            name,
            good: true,
            detail: detail.to_string(),
            next: None,
        }
    }

    /// Not as it should be, with the next step.
    pub fn bad(name: &'static str, detail: impl Display, next: &'static str) -> Self {
        Self {
            name,
            good: false,
            detail: detail.to_string(),
            next: Some(next),
        }
    }

    /// Good where there is nothing to tell.
    pub fn none(name: &'static str, found: &[String], next: &'static str) -> Self {
        if found.is_empty() {
            Self::good(name, "")
        } else {
            Self::bad(name, found.join("; "), next)
        }
    }
}

impl Check {
    fn text(&self, style: Style) -> String {
        let (mark, name) = (style.mark(self.good), self.name);
        let colon = if self.detail.is_empty() { "" } else { ": " };
        let next = self
            .next
            .map(|next| format!("      next: {next}\n"))
            .unwrap_or_default();
        format!("{mark}  {name}{colon}{}\n{next}", self.detail)
    }
}

/// All that were looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    good: bool,
    checks: Vec<Check>,
    #[serde(skip)]
    style: Style,
}

impl Report {
    /// Of these checks.
    pub fn new(checks: Vec<Check>) -> Self {
        Self {
            good: checks.iter().all(|check| check.good),
            checks,
            style: Style::default(),
        }
    }

    /// Tells it, with a failure where a check failed.
    ///
    /// # Errors
    /// Where it can't be written in that format.
    pub fn answer(self, format: Format, style: Style) -> Result<Answer, Failure> {
        let report = Self { style, ..self };
        Ok(Answer::of(output::one(&report, format)?, report.good))
    }

    /// For people.
    pub fn text(&self, style: Style) -> String {
        let lines: Vec<String> = self.checks.iter().map(|check| check.text(style)).collect();
        let failed = self.checks.iter().filter(|check| !check.good).count();
        let all = self.checks.len();
        let sum = match failed {
            0 => format!("{all} checks passed"),
            _ => format!("{failed} of {all} checks failed"),
        };
        format!("{}\n{sum}\n", lines.concat())
    }
}

impl Detail for Report {
    const KIND: &'static str = "CheckReport";

    fn text(&self) -> String {
        Self::text(self, self.style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_fails_the_report() {
        let checks = vec![Check::good("a", 1), Check::bad("b", "x", "do y")];
        let answer = Report::new(checks)
            .answer(Format::Json, Style::default())
            .unwrap();
        assert_eq!(answer.exit, 1);
        assert_eq!(
            answer.text,
            r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "CheckReport",
  "good": false,
  "checks": [
    {
      "name": "a",
      "good": true,
      "detail": "1"
    },
    {
      "name": "b",
      "good": false,
      "detail": "x",
      "next": "do y"
    }
  ]
}
"#
        );
        let answer = Report::new(vec![Check::good("a", "")])
            .answer(Format::Table, Style::default())
            .unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.exit),
            ("ok    a\n\n1 checks passed\n", 0)
        );
    }
}

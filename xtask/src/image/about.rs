//! What an image says of itself.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::run::ask;
use crate::workspace::Workspace;

/// What an image says of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Version of the agent.
    pub version: String,
    /// In one sentence.
    pub description: String,
    /// As SPDX writes it.
    pub licenses: String,
    /// Where the source is, if the workspace says so.
    pub source: Option<String>,
    /// The commit, if there is one.
    pub revision: Option<String>,
    /// Seconds since 1970: `SOURCE_DATE_EPOCH`, else the time of the commit, so that building again changes nothing.
    pub created: u64,
    /// What cargo says of the workspace.
    pub metadata: Value,
}

impl About {
    /// Asks cargo and git.
    pub fn look(workspace: &Workspace) -> Result<Self> {
        let metadata = metadata(workspace)?;
        let package = package(&metadata, "mesh-agent").context("no package mesh-agent")?;
        let text = |field: &str| package[field].as_str().map(str::to_owned);
        let git = |args: &[&str]| {
            let answer = ask(Command::new("git").arg("-C").arg(workspace.root()).args(args))?;
            Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
        };
        let created = match env::var("SOURCE_DATE_EPOCH") {
            Ok(time) => time
                .parse()
                .context("SOURCE_DATE_EPOCH is not a number of seconds")?,
            Err(_) => git(&["log", "-1", "--format=%ct"])
                .and_then(|time| time.parse().ok())
                .unwrap_or_default(),
        };
        Ok(Self {
            version: text("version").context("mesh-agent has no version")?,
            description: text("description").unwrap_or_default(),
            licenses: text("license").context("mesh-agent has no license")?,
            source: text("repository"),
            revision: git(&["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]),
            created,
            metadata,
        })
    }

    /// In a registry that nobody has: where the image was not imported a pull fails, instead of bringing another's.
    pub fn default_tag(&self) -> String {
        format!("localhost/mesh-agent:{}", self.version)
    }

    /// [`Self::created`], as RFC 3339 writes it.
    pub fn created_text(&self) -> Result<String> {
        let seconds = i64::try_from(self.created)?;
        Ok(Timestamp::from_second(seconds)?.to_string())
    }

    /// Labels and annotations.
    /// <https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md>
    pub fn labels(&self) -> Result<Value> {
        let mut labels = serde_json::Map::new();
        let texts = [
            ("title", Some("mesh-agent".to_owned())),
            ("description", Some(self.description.clone())),
            ("version", Some(self.version.clone())),
            ("licenses", Some(self.licenses.clone())),
            ("created", Some(self.created_text()?)),
            ("revision", self.revision.clone()),
            ("source", self.source.clone()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                labels.insert(format!("org.opencontainers.image.{name}"), text.into());
            }
        }
        Ok(labels.into())
    }
}

/// The package of that name that belongs to the workspace.
pub fn package<'a>(metadata: &'a Value, name: &str) -> Option<&'a Value> {
    let packages = metadata["packages"].as_array()?;
    packages
        .iter()
        .find(|package| package["name"] == name && package["source"].is_null())
}

fn metadata(workspace: &Workspace) -> Result<Value> {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut cargo = workspace.cargo();
    cargo.args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        &target,
    ]);
    let answer = ask(&mut cargo).context("`cargo metadata --locked` failed: run it to see why")?;
    serde_json::from_str(&answer).context("what cargo metadata said")
}

#[cfg(test)]
impl About {
    /// For tests of what is made of it.
    pub fn for_test() -> Self {
        Self {
            version: "1.2.3".to_owned(),
            description: "An agent".to_owned(),
            licenses: "MIT".to_owned(),
            source: None,
            revision: Some("abc".to_owned()),
            created: 1_700_000_000,
            metadata: Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_what_is_known() {
        let labels = About::for_test().labels().unwrap();
        assert_eq!(labels["org.opencontainers.image.created"], "2023-11-14T22:13:20Z");
        assert_eq!(labels["org.opencontainers.image.revision"], "abc");
        assert!(labels.get("org.opencontainers.image.source").is_none());
    }

    #[test]
    fn cargo_and_git_are_asked() {
        let about = About::look(&Workspace::find().unwrap()).unwrap();
        assert_eq!(about.version, env!("CARGO_PKG_VERSION"));
        assert!(about.default_tag().ends_with(&about.version));
        assert!(!about.description.is_empty() && about.licenses.contains("MIT"));
    }
}

//! `config`: what the agent was started with, and what can be set.

use serde::Serialize;

use crate::{
    app::settings::{self, Key, Setting, Settings, Source},
    cli::{
        args::Format,
        failure::Failure,
        node::Node,
        output::{self, Item, or_dash, table, text},
    },
};

/// A setting of the running agent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SettingRow {
    #[serde(flatten)]
    setting: Setting,
    /// The flag, the variable or the file that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    said_by: Option<String>,
}

impl Item for SettingRow {
    const KIND: &'static str = "Setting";
    const NOUN: &'static str = "setting";
    const COLUMNS: &'static [table::Column] = &[text("KEY"), text("VALUE"), text("FROM")];

    fn name(&self) -> String {
        self.setting.key.clone()
    }

    fn cells(&self) -> Vec<String> {
        let from = self.said_by.clone().unwrap_or_else(|| "default".to_owned());
        vec![
            self.setting.key.clone(),
            or_dash(self.setting.value.as_ref()),
            from,
        ]
    }
}

/// Something that can be set.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct KeyRow(Key);

impl Item for KeyRow {
    const KIND: &'static str = "SettingKey";
    const NOUN: &'static str = "setting";
    const COLUMNS: &'static [table::Column] = &[
        text("KEY"),
        text("VARIABLE"),
        text("IN FILE"),
        text("DEFAULT"),
        text("WHAT IT IS"),
    ];

    fn name(&self) -> String {
        self.0.key.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.0.key.clone(),
            or_dash(self.0.environment.as_ref()),
            if self.0.in_file { "yes" } else { "no" }.to_owned(),
            or_dash(self.0.default.as_ref()),
            self.0.about.clone(),
        ]
    }
}

/// `config`.
pub fn show(node: &Node, format: Format) -> Result<String, Failure> {
    let settings = node.agent.settings()?;
    if let Some(remark) = remark(&settings) {
        eprintln!("meshctl: {remark}");
    }
    output::list(&rows(settings, &settings::schema()), format)
}

/// `config schema`.
pub fn schema(format: Format) -> Result<String, Failure> {
    let rows: Vec<KeyRow> = settings::schema().into_iter().map(KeyRow).collect();
    output::list(&rows, format)
}

fn remark(settings: &Settings) -> Option<String> {
    let file = settings.file.as_ref().filter(|_| settings.changed)?;
    Some(format!(
        "{} changed since the agent read it: restart the agent to have that, too",
        file.display()
    ))
}

fn rows(settings: Settings, schema: &[Key]) -> Vec<SettingRow> {
    let Settings { file, settings, .. } = settings;
    let row = |setting: Setting| {
        let said_by = match setting.source {
            Source::Flag => Some(format!("--{}", setting.key)),
            Source::Environment => schema
                .iter()
                .find(|key| key.key == setting.key)
                .and_then(|key| key.environment.as_ref().map(|name| format!("${name}"))),
            Source::File => file.as_ref().map(|file| file.display().to_string()),
            Source::Default => None,
        };
        SettingRow { setting, said_by }
    };
    settings.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let setting = |key: &str, value: Option<&str>, source| Setting {
            key: key.into(),
            value: value.map(Into::into),
            source,
        };
        Settings {
            file: Some("/etc/mesh-agent/config.yaml".into()),
            changed: true,
            settings: vec![
                setting("packets", Some("off"), Source::File),
                setting("node-name", Some("n1"), Source::Environment),
                setting("run-dir", Some("/r"), Source::Flag),
                setting("cgroup", None, Source::Default),
            ],
            ..Settings::default()
        }
    }

    #[test]
    fn the_table_says_who_said_so() {
        let rows = rows(settings(), &settings::schema());
        assert_eq!(
            output::list(&rows, Format::Table).unwrap(),
            "\
KEY         VALUE   FROM
packets     off     /etc/mesh-agent/config.yaml
node-name   n1      $NODE_NAME
run-dir     /r      --run-dir
cgroup      -       default
"
        );
        let json = output::list(&rows, Format::Json).unwrap();
        assert!(
            json.contains("\"source\": \"environment\"") && json.contains("\"saidBy\": \"$NODE_NAME\""),
            "{json}"
        );
    }

    #[test]
    fn a_file_that_changed_asks_for_a_restart() {
        assert!(remark(&settings()).unwrap().contains("restart"));
        assert_eq!(
            remark(&Settings {
                changed: false,
                ..settings()
            }),
            None
        );
    }

    #[test]
    fn the_schema_has_a_line_for_each_key() {
        let text = schema(Format::Table).unwrap();
        assert!(
            text.contains("map-size") && text.contains("MESH_MAP_SIZE"),
            "{text}"
        );
    }
}

//! `diff`: what the kernel holds against what the agent wants.

use serde::Serialize;

use crate::{
    app::admin::Drift,
    cli::{
        answer::Answer,
        args::Format,
        failure::Failure,
        node::Node,
        output::{self, Item, or_dash, table, text},
    },
};

/// An entry that is not what it should be.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct DriftRow(Drift);

impl Item for DriftRow {
    const KIND: &'static str = "Drift";
    const NOUN: &'static str = "drift";
    const COLUMNS: &'static [table::Column] = &[text("TABLE"), text("KEY"), text("WANTED"), text("FOUND")];

    fn name(&self) -> String {
        format!("{}/{}", self.0.table, self.0.key)
    }

    fn cells(&self) -> Vec<String> {
        let Drift {
            table,
            key,
            expected,
            found,
        } = &self.0;
        vec![
            table.clone(),
            key.clone(),
            or_dash(expected.as_ref()),
            or_dash(found.as_ref()),
        ]
    }
}

/// `diff`.
pub fn run(node: &Node, format: Format) -> Result<Answer, Failure> {
    answer(node.agent.diff()?, format)
}

fn answer(drift: Vec<Drift>, format: Format) -> Result<Answer, Failure> {
    let rows: Vec<DriftRow> = drift.into_iter().map(DriftRow).collect();
    let people = matches!(format, Format::Table | Format::Wide);
    let text = if rows.is_empty() && people {
        "no drift: the kernel holds what the agent wants\n".to_owned()
    } else {
        output::list(&rows, format)?
    };
    Ok(Answer::of(text, rows.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_a_failure() {
        let drift = Drift {
            table: "PODS".into(),
            key: "7".into(),
            expected: None,
            found: Some("id 3".into()),
        };
        let answered = answer(vec![drift.clone()], Format::Table).unwrap();
        assert_eq!(
            answered.text,
            "TABLE   KEY   WANTED   FOUND\nPODS    7     -        id 3\n"
        );
        assert_eq!(answered.exit, 1);
        assert_eq!(
            answer(vec![drift], Format::Json).unwrap().text,
            r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "DriftList",
  "items": [
    {
      "table": "PODS",
      "key": "7",
      "expected": null,
      "found": "id 3"
    }
  ]
}
"#
        );
    }

    #[test]
    fn no_drift_is_none() {
        let answered = answer(Vec::new(), Format::Table).unwrap();
        assert!(answered.text.starts_with("no drift"));
        assert_eq!(answered.exit, 0);
        let json = answer(Vec::new(), Format::Json).unwrap();
        assert!(json.text.contains("\"items\": []"));
        assert_eq!(json.exit, 0);
    }
}

//! `policy list`.

use serde::Serialize;

use crate::{
    app::policy::PolicyRow,
    cli::{
        args::Format,
        failure::Failure,
        node::Node,
        output::{self, Item, joined, number, or_dash, table, text},
        scope::Scope,
    },
};

/// A policy.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Row(PolicyRow);

impl Item for Row {
    const KIND: &'static str = "Policy";
    const NOUN: &'static str = "policy";
    const COLUMNS: &'static [table::Column] = &[
        text("NAMESPACE"),
        text("NAME"),
        text("ISOLATES"),
        number("RULES"),
        number("PODS"),
        number("GENERATION"),
        number("IN FORCE"),
        number("FAULTS"),
    ];
    const WIDE: &'static [table::Column] = &[number("NOT ENFORCED"), text("FIRST FAULT")];

    fn name(&self) -> String {
        format!("{}/{}", self.0.namespace, self.0.name)
    }

    fn cells(&self) -> Vec<String> {
        let row = &self.0;
        vec![
            row.namespace.clone(),
            row.name.clone(),
            joined(&row.directions),
            row.rules.to_string(),
            row.pods.to_string(),
            or_dash(row.generation),
            or_dash(row.in_force),
            row.faults.len().to_string(),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.0.unenforced.to_string(), or_dash(self.0.faults.first())]
    }
}

/// `policy list`.
pub fn list(node: &Node, scope: &Scope, format: Format) -> Result<String, Failure> {
    write(node.agent.policies(scope.namespace())?, format)
}

fn write(policies: Vec<PolicyRow>, format: Format) -> Result<String, Failure> {
    let rows: Vec<Row> = policies.into_iter().map(Row).collect();
    output::list(&rows, format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies() -> Vec<PolicyRow> {
        vec![
            PolicyRow {
                namespace: "shop".into(),
                name: "deny".into(),
                directions: vec!["ingress".into(), "egress".into()],
                rules: 0,
                pods: 12,
                unenforced: 1,
                generation: Some(3),
                in_force: Some(2),
                faults: Vec::new(),
            },
            PolicyRow {
                namespace: "shop".into(),
                name: "web".into(),
                directions: vec!["ingress".into()],
                rules: 4,
                pods: 2,
                faults: vec!["spec.ingress[0].from[0]: is missing".into()],
                ..PolicyRow::default()
            },
        ]
    }

    #[test]
    fn the_table() {
        assert_eq!(
            write(policies(), Format::Table).unwrap(),
            "\
NAMESPACE   NAME   ISOLATES         RULES   PODS   GENERATION   IN FORCE   FAULTS
shop        deny   ingress,egress       0     12            3          2        0
shop        web    ingress              4      2            -          -        1
"
        );
        assert_eq!(
            write(policies(), Format::Wide).unwrap().lines().last(),
            Some(
                "shop        web    ingress              4      2            -          -        1              0   \
                 spec.ingress[0].from[0]: is missing"
            )
        );
        assert_eq!(
            write(policies(), Format::Name).unwrap(),
            "policy/shop/deny\npolicy/shop/web\n"
        );
    }

    #[test]
    fn the_list_as_json() {
        let [deny, _] = policies().try_into().unwrap();
        assert_eq!(
            write(vec![deny], Format::Json).unwrap(),
            r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "PolicyList",
  "items": [
    {
      "namespace": "shop",
      "name": "deny",
      "directions": [
        "ingress",
        "egress"
      ],
      "rules": 0,
      "pods": 12,
      "unenforced": 1,
      "generation": 3,
      "inForce": 2,
      "faults": []
    }
  ]
}
"#
        );
    }
}

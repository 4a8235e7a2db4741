//! `policy show`.

use serde::Serialize;

use crate::{
    app::policy::{PolicyDetail, RuleText, SelectedPod, SetRow},
    cli::{
        args::Format,
        failure::Failure,
        node::Node,
        output::{self, Detail, joined, number, or_dash, table, text},
        scope::Scope,
    },
};

/// A policy, and what was made of it.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Shown(PolicyDetail);

/// `policy show`.
pub fn show(node: &Node, scope: &Scope, policy: &str, format: Format) -> Result<String, Failure> {
    let (namespace, name) = scope.object("policy", policy)?;
    output::one(&Shown(node.agent.policy(&namespace, &name)?), format)
}

impl Detail for Shown {
    const KIND: &'static str = "Policy";

    fn name(&self) -> Option<String> {
        let row = &self.0.row;
        Some(format!("policy/{}/{}", row.namespace, row.name))
    }

    fn text(&self) -> String {
        let PolicyDetail {
            row,
            selector,
            ingress,
            egress,
            selected,
            sets,
        } = &self.0;
        let facts = table::facts(&[
            ("Policy", format!("{}/{}", row.namespace, row.name)),
            ("Selects", selector.clone()),
            ("Generation", or_dash(row.generation)),
            ("In force", or_dash(row.in_force)),
        ]);
        let rules = [("ingress", "from", ingress), ("egress", "to", egress)];
        let rules = rules.map(|(direction, word, rules)| direction_text(direction, word, rules.as_deref()));
        let faults = section("Left out, so that it lets nothing pass", &row.faults.join("\n"));
        let pods = section("Pods of this node", &pods(selected));
        let sets = section("Rule sets in the kernel", &set_table(sets));
        [facts, rules.concat(), faults, pods, sets].concat()
    }
}

/// The rules of a direction.
fn direction_text(direction: &str, word: &str, rules: Option<&[RuleText]>) -> String {
    let head = |what: &str| format!("\n{direction}: {what}\n");
    match rules {
        None => head("the policy does not isolate pods so"),
        Some([]) => head("nothing passes"),
        Some(rules) => {
            let line = |rule: &RuleText| {
                let or = |list: &[String], all: &str| match list {
                    [] => all.to_owned(),
                    list => list.join("; "),
                };
                let peers = or(&rule.peers, "anybody");
                let ports = or(&rule.ports, "all ports and protocols");
                format!("  [{}] {word} {peers}: {ports}\n", rule.index)
            };
            head("what passes") + &rules.iter().map(line).collect::<String>()
        }
    }
}

fn pods(selected: &[SelectedPod]) -> String {
    if selected.is_empty() {
        return String::new();
    }
    let columns = [
        text("POD"),
        number("INGRESS SET"),
        number("EGRESS SET"),
        text("NOT ENFORCED"),
    ];
    let rows = selected.iter().map(|pod| {
        vec![
            pod.pod.clone(),
            or_dash(pod.ingress_set),
            or_dash(pod.egress_set),
            or_dash(pod.unenforced.as_ref()),
        ]
    });
    table::table(&columns, rows)
}

fn set_table(sets: &[SetRow]) -> String {
    if sets.is_empty() {
        return String::new();
    }
    let columns = [
        number("SET"),
        text("DIRECTION"),
        number("ENTRIES"),
        text("POLICIES"),
    ];
    let rows = sets.iter().map(|set| {
        vec![
            set.set.to_string(),
            set.direction.clone(),
            set.entries.to_string(),
            joined(&set.policies),
        ]
    });
    table::table(&columns, rows)
}

/// Lines under a head; nothing where there are none.
fn section(head: &str, lines: &str) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("\n{head}:\n{}", table::indented(lines, 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::policy::PolicyRow;

    fn shown() -> Shown {
        Shown(PolicyDetail {
            row: PolicyRow {
                namespace: "shop".into(),
                name: "web".into(),
                directions: vec!["ingress".into()],
                rules: 2,
                pods: 2,
                unenforced: 1,
                generation: Some(3),
                in_force: Some(3),
                faults: vec!["spec.ingress[2]: is missing".into()],
            },
            selector: "app=web".into(),
            ingress: Some(vec![
                RuleText {
                    index: 0,
                    peers: vec!["pods app=client".into(), "10.0.0.0/8 except 10.1.0.0/16".into()],
                    ports: vec!["TCP/80".into(), "UDP/53".into()],
                },
                RuleText {
                    index: 1,
                    ..RuleText::default()
                },
            ]),
            egress: None,
            selected: vec![
                SelectedPod {
                    pod: "shop/web-0".into(),
                    unenforced: None,
                    ingress_set: Some(7),
                    egress_set: Some(0),
                },
                SelectedPod {
                    pod: "shop/web-1".into(),
                    unenforced: Some("unsupported (kata)".into()),
                    ..SelectedPod::default()
                },
            ],
            sets: vec![SetRow {
                set: 7,
                direction: "ingress".into(),
                policies: vec!["shop/deny".into(), "shop/web".into()],
                entries: 12,
            }],
        })
    }

    #[test]
    fn rules_pods_and_sets_for_people() {
        assert_eq!(
            shown().text(),
            "\
Policy:      shop/web
Selects:     app=web
Generation:  3
In force:    3

ingress: what passes
  [0] from pods app=client; 10.0.0.0/8 except 10.1.0.0/16: TCP/80; UDP/53
  [1] from anybody: all ports and protocols

egress: the policy does not isolate pods so

Left out, so that it lets nothing pass:
  spec.ingress[2]: is missing

Pods of this node:
  POD          INGRESS SET   EGRESS SET   NOT ENFORCED
  shop/web-0             7            0   -
  shop/web-1             -            -   unsupported (kata)

Rule sets in the kernel:
  SET   DIRECTION   ENTRIES   POLICIES
    7   ingress          12   shop/deny,shop/web
"
        );
    }

    #[test]
    fn a_policy_without_rules_lets_nothing_pass() {
        let deny = Shown(PolicyDetail {
            ingress: Some(Vec::new()),
            ..PolicyDetail::default()
        });
        assert!(
            deny.text().contains("\ningress: nothing passes\n"),
            "{}",
            deny.text()
        );
        assert!(!deny.text().contains("Pods of this node"));
    }

    #[test]
    fn the_policy_as_json() {
        assert_eq!(
            output::one(&shown(), Format::Json).unwrap(),
            r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "Policy",
  "namespace": "shop",
  "name": "web",
  "directions": [
    "ingress"
  ],
  "rules": 2,
  "pods": 2,
  "unenforced": 1,
  "generation": 3,
  "inForce": 3,
  "faults": [
    "spec.ingress[2]: is missing"
  ],
  "selector": "app=web",
  "ingress": [
    {
      "index": 0,
      "peers": [
        "pods app=client",
        "10.0.0.0/8 except 10.1.0.0/16"
      ],
      "ports": [
        "TCP/80",
        "UDP/53"
      ]
    },
    {
      "index": 1,
      "peers": [],
      "ports": []
    }
  ],
  "selected": [
    {
      "pod": "shop/web-0",
      "ingressSet": 7,
      "egressSet": 0
    },
    {
      "pod": "shop/web-1",
      "unenforced": "unsupported (kata)"
    }
  ],
  "sets": [
    {
      "set": 7,
      "direction": "ingress",
      "policies": [
        "shop/deny",
        "shop/web"
      ],
      "entries": 12
    }
  ]
}
"#
        );
    }
}

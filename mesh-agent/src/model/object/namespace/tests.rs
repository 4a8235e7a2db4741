use serde_json::{Value, json};

use super::*;
use crate::model::object::Object;

fn namespace(metadata: &Value) -> Result<Namespace, String> {
    let namespace: api::Namespace = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
    Namespace::try_from(namespace).map_err(|invalid| invalid.to_string())
}

fn annotated(key: &str, value: &str) -> Namespace {
    namespace(&json!({ "name": "shop", "annotations": { key: value } })).unwrap()
}

fn doubts(namespace: Namespace) -> Vec<String> {
    let doubts = Object::from(namespace).doubtful();
    doubts.iter().map(ToString::to_string).collect()
}

#[test]
fn its_name_is_among_its_labels() {
    for (labels, expected) in [
        (json!(null), vec![("kubernetes.io/metadata.name", "shop")]),
        (
            json!({ "team": "a", "app": "b" }),
            vec![
                ("app", "b"),
                ("kubernetes.io/metadata.name", "shop"),
                ("team", "a"),
            ],
        ),
        (
            json!({ "kubernetes.io/metadata.name": "other" }),
            vec![("kubernetes.io/metadata.name", "shop")],
        ),
    ] {
        let namespace = namespace(&json!({ "name": "shop", "labels": labels })).unwrap();
        assert_eq!(namespace.labels.iter().collect::<Vec<_>>(), expected);
    }
    let nameless = namespace(&json!({ "labels": { "team": "a" } }));
    assert_eq!(nameless.unwrap_err(), "Namespace : metadata.name: is missing");
}

#[test]
fn only_audit_is_audit() {
    for (value, audited, doubt) in [
        ("audit", true, None),
        ("enforce", false, None),
        (
            "Audit",
            false,
            Some(
                "Namespace shop: metadata.annotations[mesh-agent.io/policy-mode]: \"Audit\" is not one of enforce, audit; \
                 it counts as enforce",
            ),
        ),
        (
            "",
            false,
            Some(
                "Namespace shop: metadata.annotations[mesh-agent.io/policy-mode]: \"\" is not one of enforce, audit; it \
                 counts as enforce",
            ),
        ),
    ] {
        let namespace = annotated("mesh-agent.io/policy-mode", value);
        assert_eq!(namespace.is_audited(), audited, "{value:?}");
        assert_eq!(doubts(namespace), doubt.into_iter().collect::<Vec<_>>());
    }
    assert!(!annotated("other", "audit").is_audited());
}

#[test]
fn sources_that_can_be_read_count() {
    let wrong = |part: &str| {
        format!(
            "Namespace shop: metadata.annotations[mesh-agent.io/allowed-sources]: \"{part}\" is not a CIDR (as in \
             10.0.0.0/8 or fd00::/8)"
        )
    };
    for (value, expected, faults) in [
        ("", "", vec![]),
        ("10.1.0.0/16", "10.1.0.0/16", vec![]),
        (
            " fd00::/8 ,10.1.2.3/16,, 10.1.0.0/16",
            "10.1.0.0/16 fd00::/8",
            vec![],
        ),
        ("0.0.0.0/0,::/0", "::/0 0.0.0.0/0", vec![]),
        ("::ffff:10.1.0.0/112", "10.1.0.0/16", vec![]),
        ("10.1.0.0,10.2.0.0/16", "10.2.0.0/16", vec![wrong("10.1.0.0")]),
        (
            "10.1.0.0/33;10.2.0.0/16,x",
            "",
            vec![wrong("10.1.0.0/33;10.2.0.0/16"), wrong("x")],
        ),
    ] {
        let namespace = annotated("mesh-agent.io/allowed-sources", value);
        let sources: Vec<_> = namespace
            .allowed_sources
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(sources.join(" "), expected, "{value:?}");
        assert_eq!(doubts(namespace), faults, "{value:?}");
    }
}

//! What policies look at, and who hears of it when that changes.

use std::collections::BTreeSet;

use mesh_common::policy::Transport;

use super::*;
use crate::model::object::pod::NamedPort;

const SOURCES: &str = "mesh-agent.io/allowed-sources";
const MODE: &str = "mesh-agent.io/policy-mode";

fn policy(name: &str, spec: Value) -> Object {
    object(json!({
        "kind": "NetworkPolicy",
        "metadata": { "namespace": "shop", "name": name, "generation": 1 },
        "spec": spec,
    }))
}

fn labelled(name: &str, labels: Value, annotations: Value) -> Object {
    let metadata = json!({ "name": name, "labels": labels, "annotations": annotations });
    object(json!({ "kind": "Namespace", "metadata": metadata }))
}

/// The labels of a namespace, and whether it is audited.
fn facts(cluster: &Cluster, name: &str) -> Option<(String, bool)> {
    let facts = cluster.namespace_facts(name)?;
    let labels = facts.labels.iter().map(|(key, value)| format!("{key}={value}"));
    Some((labels.collect::<Vec<_>>().join(" "), facts.audited))
}

fn named(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_policy_comes_changes_and_goes() {
    let name = ObjectName::new("shop", "p");
    let closed = json!({ "podSelector": {} });
    let open = json!({ "podSelector": {}, "ingress": [{}] });
    let mut cluster = cluster([pod("a", "10.0.0.1", json!({}))]);
    assert_eq!((cluster.policy(&name), cluster.policies().count()), (None, 0));

    let only = |dirty: Dirty| {
        assert!(dirty.services.is_empty() && dirty.pods.is_empty() && dirty.namespaces.is_empty());
        dirty.policies.into_iter().collect::<Vec<_>>()
    };
    for (spec, rules, news) in [
        (&closed, 0, true),
        (&closed, 0, false),
        (&open, 1, true),
        (&open, 1, false),
    ] {
        let told = only(upsert(&mut cluster, [policy("p", spec.clone())]));
        let expected = if news { vec![name.clone()] } else { vec![] };
        assert_eq!(told, expected, "{spec}");
        let ingress = cluster.policy(&name).unwrap().ingress.as_ref().map(Vec::len);
        assert_eq!(ingress, Some(rules), "{spec}");
    }
    assert_eq!(cluster.policies().collect::<Vec<_>>(), [&name]);
    let gone = || Event::Delete(ObjectRef::NetworkPolicy(name.clone()));
    assert_eq!(only(cluster.apply(gone())), std::slice::from_ref(&name));
    assert_eq!(cluster.policy(&name), None);
    assert_eq!(cluster.apply(gone()), Dirty::default());
}

#[test]
fn what_of_a_policy_cannot_be_read_is_told_as_long_as_it_is_so() {
    let wrong =
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0" } }] }] });
    let mut cluster = cluster([policy("p", wrong)]);
    assert_eq!(
        problems(&cluster),
        [
            "NetworkPolicy shop/p: spec.ingress[0].from[0].ipBlock.cidr: \"10.0.0.0\" is not a CIDR (as in 10.0.0.0/8 or \
          fd00::/8)"
        ]
    );
    let _ = upsert(&mut cluster, [policy("p", json!({ "podSelector": {} }))]);
    assert_eq!(problems(&cluster), [""; 0]);
}

#[test]
fn namespaces_are_their_labels_and_their_mode() {
    let name = "kubernetes.io/metadata.name=shop";
    let mut cluster = cluster([]);
    assert_eq!(facts(&cluster, "shop"), None);
    for (labels, annotations, expected, audited, news) in [
        (json!({}), json!({}), name.to_owned(), false, true),
        (json!({}), json!({}), name.to_owned(), false, false),
        (
            json!({ "team": "a" }),
            json!({}),
            format!("{name} team=a"),
            false,
            true,
        ),
        (
            json!({ "team": "a" }),
            json!({ MODE: "audit" }),
            format!("{name} team=a"),
            true,
            true,
        ),
        (
            json!({ "team": "a" }),
            json!({ MODE: "Audit" }),
            format!("{name} team=a"),
            false,
            true,
        ),
        (
            json!({ "team": "a" }),
            json!({ "other": "x" }),
            format!("{name} team=a"),
            false,
            false,
        ),
    ] {
        let dirty = upsert(
            &mut cluster,
            [labelled("shop", labels.clone(), annotations.clone())],
        );
        let told = if news { named(&["shop"]) } else { named(&[]) };
        assert_eq!(dirty.namespaces, told, "{labels} {annotations}");
        assert!(dirty.pods.is_empty() && dirty.policies.is_empty());
        assert_eq!(
            facts(&cluster, "shop"),
            Some((expected, audited)),
            "{labels} {annotations}"
        );
    }
    let dirty = cluster.apply(Event::Delete(ObjectRef::Namespace("shop".to_owned())));
    assert_eq!(
        (dirty.namespaces, facts(&cluster, "shop")),
        (named(&["shop"]), None)
    );
}

#[test]
fn a_namespace_without_an_object_has_its_name() {
    let by_name = Some(("kubernetes.io/metadata.name=shop".to_owned(), false));
    let mut cluster = cluster([]);
    let dirty = upsert(&mut cluster, [pod("a", "10.0.0.1", json!({}))]);
    assert_eq!(dirty.namespaces, named(&["shop"]));
    assert_eq!(facts(&cluster, "shop"), by_name);
    let dirty = upsert(&mut cluster, [pod("b", "10.0.0.2", json!({}))]);
    assert_eq!(dirty.namespaces, named(&[]), "it was known");
    let dirty = upsert(&mut cluster, [labelled("shop", json!({}), json!({}))]);
    assert_eq!(dirty.namespaces, named(&[]), "an object that says no more");
    let dirty = upsert(
        &mut cluster,
        [labelled("shop", json!({ "team": "a" }), json!({}))],
    );
    assert_eq!(dirty.namespaces, named(&["shop"]));
    let _ = upsert(&mut cluster, [labelled("empty", json!({}), json!({}))]);
    assert_eq!(cluster.namespaces().collect::<Vec<_>>(), ["empty", "shop"]);

    let dirty = cluster.apply(Event::Delete(ObjectRef::Namespace("shop".to_owned())));
    assert_eq!(
        (dirty.namespaces, facts(&cluster, "shop")),
        (named(&["shop"]), by_name)
    );
    let dirty = cluster.apply(Event::Delete(ObjectRef::Pod(key("a").object)));
    assert_eq!(dirty.namespaces, named(&[]), "another pod is there");
    let dirty = cluster.apply(Event::Delete(ObjectRef::Pod(key("b").object)));
    assert_eq!(
        (dirty.namespaces, facts(&cluster, "shop")),
        (named(&["shop"]), None)
    );
    assert_eq!(cluster.namespaces().collect::<Vec<_>>(), ["empty"]);
}

#[test]
fn sources_that_are_allowed_concern_the_pods() {
    let sources = |cluster: &Cluster| -> Vec<String> {
        let sources = cluster.allowed_sources("shop").iter();
        sources.map(ToString::to_string).collect()
    };
    let mut cluster = cluster([pod("a", "10.0.0.1", json!({}))]);
    assert_eq!(sources(&cluster), [""; 0]);
    for (value, expected, news) in [
        ("10.1.0.0/16, fd00::/8", vec!["10.1.0.0/16", "fd00::/8"], true),
        ("fd00::/8,10.1.0.0/16", vec!["10.1.0.0/16", "fd00::/8"], false),
        ("fd00::/8,none", vec!["fd00::/8"], true),
    ] {
        let dirty = upsert(
            &mut cluster,
            [labelled("shop", json!({}), json!({ SOURCES: value }))],
        );
        assert_eq!(dirty.pods.contains(&key("a")), news, "{value}");
        assert_eq!(sources(&cluster), expected, "{value}");
    }
    assert_eq!(problems(&cluster).len(), 1);
}

#[test]
fn pods_with_a_network_of_their_own_are_seen_wherever_they_are() {
    for (patch, seen) in [
        (json!({}), true),
        (json!({ "spec": { "nodeName": "there" } }), true),
        (
            json!({ "metadata": { "labels": { "mesh-agent.io/dataplane": "disabled" } } }),
            true,
        ),
        (json!({ "spec": { "runtimeClassName": "gvisor" } }), true),
        (json!({ "status": { "phase": "Pending" } }), true),
        (
            json!({ "metadata": { "deletionTimestamp": "2026-11-20T16:04:08Z" } }),
            true,
        ),
        (json!({ "status": { "podIP": null } }), true),
        (json!({ "status": { "phase": "Succeeded" } }), false),
        (json!({ "spec": { "hostNetwork": true } }), false),
    ] {
        let cluster = cluster([pod("a", "10.0.0.1", patch.clone())]);
        let facts = cluster.policy_pod(&key("a"));
        assert_eq!(facts.is_some(), seen, "{patch}");
        let Some(facts) = facts else { continue };
        assert_eq!(facts.labels.get("app"), Some("web"));
        let has_address = patch.pointer("/status/podIP") != Some(&Value::Null);
        assert_eq!(facts.addresses.len(), usize::from(has_address), "{patch}");
    }
    let other = PodKey {
        uid: "other".into(),
        ..key("a")
    };
    assert_eq!(
        cluster([pod("a", "10.0.0.1", json!({}))]).policy_pod(&other),
        None
    );
}

#[test]
fn a_pod_is_seen_with_all_it_claims() {
    let newer = json!({ "metadata": { "creationTimestamp": "2026-11-20T16:04:08Z" } });
    let cluster = cluster([pod("a", "10.0.0.1", json!({})), pod("b", "10.0.0.1", newer)]);
    assert_eq!(cluster.workload(&key("a")).unwrap().addresses, []);
    for name in ["a", "b"] {
        let facts = cluster.policy_pod(&key(name)).unwrap();
        assert_eq!(facts.addresses, [addr("10.0.0.1")], "{name}");
    }
}

#[test]
fn named_ports_are_seen_of_every_protocol_and_services_know_no_sctp() {
    let port = |name: &str, number: u16, protocol: &str| json!({ "name": name, "containerPort": number, "protocol": protocol });
    let ports = json!([port("assoc", 1, "SCTP"), port("web", 2, "SCTP"), port("web", 3, "TCP"), { "containerPort": 4 }]);
    let containers = json!({ "spec": { "containers": [{ "name": "app", "ports": ports }] } });
    let of = |target: &str| {
        let ports = json!([{ "port": 80, "targetPort": target }]);
        cluster([
            service(json!({ "spec": { "ports": ports } })),
            pod("a", "10.0.0.1", containers.clone()),
        ])
    };
    let seen = of("web").policy_pod(&key("a")).unwrap().ports;
    let expected = [
        ("assoc", Transport::Sctp, 1),
        ("web", Transport::Sctp, 2),
        ("web", Transport::Tcp, 3),
    ];
    let expected = expected.map(|(name, transport, port)| NamedPort {
        name: name.to_owned(),
        transport,
        port,
    });
    assert_eq!(seen, expected);
    assert_eq!(endpoints(&of("web")), ["10.0.0.1:3 a"]);
    assert_eq!(endpoints(&of("assoc")), [""; 0]);
}

#[test]
fn whatever_policies_see_of_a_pod_is_told() {
    let before = || pod("a", "10.0.0.1", json!({}));
    let ports = json!([{ "name": "web", "containerPort": 8080 }]);
    for patch in [
        json!({ "metadata": { "labels": { "app": "db" } } }),
        json!({ "metadata": { "labels": { "tier": "x" } } }),
        json!({ "spec": { "containers": [{ "name": "app", "ports": ports }] } }),
        json!({ "status": { "podIP": "10.0.0.2" } }),
        json!({ "status": { "phase": "Failed" } }),
        json!({ "spec": { "nodeName": "there" } }),
    ] {
        // As from an API server: no Service derives anything from pods.
        let mut cluster = Cluster::new("here");
        let _ = upsert(&mut cluster, [before()]);
        let dirty = upsert(&mut cluster, [pod("a", "10.0.0.1", patch.clone())]);
        assert!(dirty.pods.contains(&key("a")), "{patch}");
        assert!(
            dirty.services.is_empty() && dirty.namespaces.is_empty(),
            "{patch}"
        );
        let dirty = cluster.apply(Event::Delete(ObjectRef::Pod(key("a").object)));
        assert!(dirty.pods.contains(&key("a")), "{patch}");
    }
}

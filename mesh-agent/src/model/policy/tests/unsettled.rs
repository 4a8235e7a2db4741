//! What the cases have no topology for.

use mesh_common::policy::{ANYBODY, OPEN};
use serde_json::{Value, json};

use super::topology::topology;
use super::*;

fn with(policies: &[(&str, Value)]) -> Cluster {
    let policies = policies.iter().map(|(text, spec)| {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        (name(text), policy(&name(text), spec))
    });
    Cluster {
        policies: policies.collect(),
        ..topology().0
    }
}

fn asked(cluster: &Cluster, from: Party, to: Party, protocol: u8, port: u16) -> Verdict {
    let question = Question {
        from: Source::Party(from),
        to,
        protocol,
        port,
    };
    agree(cluster, &tables(cluster), &question).unwrap()
}

fn pod(cluster: &Cluster, text: &str) -> Party {
    let at = cluster
        .pods
        .iter()
        .position(|pod| pod.name == name(text))
        .unwrap();
    Party {
        pod: Some(at),
        addr: cluster.pods[at].addresses[0],
    }
}

/// From `x/b` to `x/a`.
fn b_to_a(cluster: &Cluster, protocol: u8, port: u16) -> Verdict {
    asked(cluster, pod(cluster, "x/b"), pod(cluster, "x/a"), protocol, port)
}

#[test]
fn an_address_of_two_pods_is_anybodys() {
    let peers =
        json!([{ "podSelector": {} }, { "namespaceSelector": {} }, { "ipBlock": { "cidr": "10.0.0.0/8" } }]);
    let rules = json!([{ "from": peers }, { "ports": [{ "port": 80 }] }]);
    let mut cluster = with(&[("x/p", json!({ "ingress": rules }))]);
    assert!(b_to_a(&cluster, 6, 81).passes());

    let disputed = pod(&cluster, "x/b").addr;
    cluster.pods.last_mut().unwrap().addresses.push(disputed);
    assert_eq!(tables(&cluster).classes.of(&disputed), ANYBODY);
    assert!(!b_to_a(&cluster, 6, 81).passes());
    assert!(b_to_a(&cluster, 6, 80).passes());
    let outside = Party {
        pod: None,
        addr: addr("192.0.2.10"),
    };
    // Whose socket it is tells the network namespace: the pod's own policies go on as before.
    assert!(!asked(&cluster, outside, pod(&cluster, "x/b"), 17, 80).passes());
}

#[test]
fn protocols_that_no_rule_can_name_pass_with_all_ports_only() {
    for (rules, passes) in [
        (json!([{}]), true),
        (json!([{ "ports": [{ "port": 1, "endPort": 65535 }] }]), false),
    ] {
        let cluster = with(&[("x/p", json!({ "podSelector": {}, "ingress": rules }))]);
        for icmp in [1, 58, 255] {
            assert_eq!(b_to_a(&cluster, icmp, 0).passes(), passes);
        }
    }
}

#[test]
fn a_namespace_nothing_is_known_of_has_no_labels() {
    let absent = json!({ "matchExpressions": [{ "key": "ns", "operator": "DoesNotExist" }] });
    let mut cluster = with(&[(
        "y/p",
        json!({ "ingress": [{ "from": [{ "namespaceSelector": absent }] }] }),
    )]);
    let asked = |cluster: &Cluster| asked(cluster, pod(cluster, "x/a"), pod(cluster, "y/a"), 6, 80).passes();
    assert!(!asked(&cluster));
    cluster.namespaces.remove("x");
    assert!(asked(&cluster));
}

#[test]
fn loopback_is_the_pods_own() {
    let cluster = with(&[("x/p", json!({ "policyTypes": ["Ingress", "Egress"] }))]);
    for loopback in ["127.0.0.1", "::1"] {
        let to = Party {
            pod: None,
            addr: addr(loopback),
        };
        assert!(asked(&cluster, pod(&cluster, "x/a"), to, 6, 80).passes());
    }
}

#[test]
fn the_rule_is_named_that_is_first_and_closest() {
    let rules = json!([{ "ports": [{ "port": 1, "endPort": 99 }] }, { "ports": [{ "port": 80 }] }, { "ports": [{ "port": 80 }] }]);
    let cluster = with(&[("x/p", json!({ "ingress": rules }))]);
    let question = Question {
        from: Source::Party(pod(&cluster, "x/b")),
        to: pod(&cluster, "x/a"),
        protocol: 6,
        port: 80,
    };
    let Side::Allowed(rule) = tables(&cluster).judge(&question).ingress else {
        panic!("denied")
    };
    assert_eq!(rule.to_string(), "x/p ingress[1]");
    let Side::Allowed(rule) = reference::judge(&cluster, &question).ingress else {
        panic!("denied")
    };
    assert_eq!(rule.to_string(), "x/p ingress[0]");
}

#[test]
fn a_rule_that_is_left_out_keeps_its_place() {
    let manifest = json!({
        "metadata": { "namespace": "x", "name": "p" },
        "spec": { "ingress": [{ "from": [{}] }, { "ports": [{ "port": 80 }] }] },
    });
    let read: api::NetworkPolicy = serde_json::from_value(manifest).unwrap();
    let read = NetworkPolicy::try_from(read).unwrap();
    let mut cluster = topology().0;
    cluster.policies.insert(read.name.clone(), Arc::new(read));
    let Side::Allowed(rule) = b_to_a(&cluster, 6, 80).ingress else {
        panic!("denied")
    };
    assert_eq!(rule.to_string(), "x/p ingress[1]");
    assert!(!b_to_a(&cluster, 6, 81).passes());
}

#[test]
fn pods_that_no_rule_tells_apart_share_a_class_and_equal_sets_are_one() {
    let from_b = json!({ "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "pod": "b" } } }] }] });
    let cluster = with(&[("x/p", from_b)]);
    let tables = tables(&cluster);
    let class = |text: &str| tables.classes.of(&pod(&cluster, text).addr);
    assert_ne!(class("x/b"), class("x/a"));
    for alike in ["x/c", "y/a", "y/b", "z/c"] {
        assert_eq!(class(alike), class("x/a"), "{alike}");
    }
    assert_eq!(class("x/a"), tables.classes.of(&addr("192.0.2.10")));

    let sets = |text: &str| tables.pods[&pod(&cluster, text).pod.unwrap()];
    assert_eq!(sets("y/a"), [OPEN, OPEN]);
    assert_ne!(sets("x/a")[0], OPEN);
    assert!(sets("x/a") == sets("x/b") && sets("x/b") == sets("x/c"));
}

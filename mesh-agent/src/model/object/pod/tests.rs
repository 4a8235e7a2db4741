#![allow(
    clippy::needless_pass_by_value,
    reason = "objects are written out where they are used"
)]

use serde_json::{Value, json};

use super::*;

fn convert(pod: Value) -> Result<Pod, String> {
    let pod: api::Pod = serde_json::from_value(pod).unwrap();
    Pod::try_from(pod).map_err(|invalid| invalid.to_string())
}

fn pod(spec: Value, status: Value) -> Result<Pod, String> {
    convert(json!({
        "metadata": { "namespace": "shop", "name": "web" },
        "spec": spec,
        "status": status,
    }))
}

fn with_status(status: Value) -> Pod {
    pod(json!({}), status).unwrap()
}

fn texts(pod: &Pod) -> Vec<String> {
    pod.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_bare_pod_is_good() {
    let pod = convert(json!({ "metadata": { "name": "web" } })).unwrap();
    assert_eq!(pod.key.to_string(), "default/web");
    assert_eq!(&*pod.key.uid, "manifest:");
    assert_eq!(pod.life, Life::Live);
    assert!(pod.ready && pod.is_workload() && !pod.has_uid);
}

#[test]
fn addresses_of_both_families_come_from_the_list_first() {
    for (status, expected) in [
        (json!({}), vec![]),
        (json!({ "podIP": "10.0.0.1" }), vec!["10.0.0.1"]),
        (json!({ "podIP": "" }), vec![]),
        (json!({ "podIPs": [], "podIP": "10.0.0.1" }), vec!["10.0.0.1"]),
        (
            json!({ "podIPs": [{ "ip": "fd00::1" }, { "ip": "10.0.0.1" }], "podIP": "fd00::1" }),
            vec!["fd00::1", "10.0.0.1"],
        ),
        (
            json!({ "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "10.0.0.1" }, { "ip": "::ffff:10.0.0.1" }] }),
            vec!["10.0.0.1"],
        ),
    ] {
        assert_eq!(texts(&with_status(status.clone())), expected, "{status}");
    }
}

#[test]
fn readiness_is_the_condition_else_the_phase() {
    let ready = |status: &str| json!([{ "type": "Ready", "status": status }]);
    for (status, expected) in [
        (json!({}), true),
        (json!({ "phase": "Running" }), true),
        (json!({ "phase": "Pending" }), false),
        (json!({ "phase": "Unknown" }), false),
        (json!({ "phase": "Running", "conditions": ready("False") }), false),
        (
            json!({ "phase": "Running", "conditions": ready("Unknown") }),
            false,
        ),
        (json!({ "phase": "Pending", "conditions": ready("True") }), true),
        (
            json!({ "phase": "Running", "conditions": [{ "type": "PodScheduled", "status": "False" }] }),
            true,
        ),
    ] {
        assert_eq!(with_status(status.clone()).ready, expected, "{status}");
    }
}

#[test]
fn a_pod_lives_ends_and_has_ended() {
    let life = |phase: &str, deleted: bool| {
        let mut metadata = json!({ "name": "web" });
        if deleted {
            metadata["deletionTimestamp"] = json!("2026-11-20T16:04:08Z");
        }
        let pod = json!({ "metadata": metadata, "status": { "phase": phase } });
        convert(pod).unwrap().life
    };
    assert_eq!(life("Running", false), Life::Live);
    assert_eq!(life("Running", true), Life::Ending);
    assert_eq!(life("Succeeded", false), Life::Ended);
    assert_eq!(life("Failed", true), Life::Ended);
}

#[test]
fn the_network_of_the_node_makes_no_workload() {
    let pod = pod(json!({ "hostNetwork": true }), json!({ "podIP": "192.168.0.1" })).unwrap();
    assert!(pod.host_network && !pod.is_workload());
}

#[test]
fn the_uid_or_what_stands_for_it() {
    let with_uid = json!({ "metadata": { "name": "web", "uid": "u1" }, "status": { "podIP": "10.0.0.1" } });
    assert_eq!(&*convert(with_uid).unwrap().key.uid, "u1");
    let one = with_status(json!({ "podIP": "10.0.0.1" }));
    let same = with_status(json!({ "podIPs": [{ "ip": "10.0.0.1" }], "phase": "Running" }));
    let other = with_status(json!({ "podIP": "10.0.0.2" }));
    assert_eq!(one.key, same.key);
    assert_ne!(one.key, other.key);
}

#[test]
fn named_ports_are_those_of_containers_that_run() {
    let ports = json!([
        { "name": "http", "containerPort": 8080 },
        { "name": "dns", "containerPort": 53, "protocol": "UDP" },
        { "name": "assoc", "containerPort": 54, "protocol": "SCTP" },
        { "containerPort": 9090 },
    ]);
    let sidecar = json!([{ "name": "admin", "containerPort": 15_000 }]);
    let setup = json!([{ "name": "setup", "containerPort": 1 }]);
    let pod = pod(
        json!({
            "containers": [{ "name": "app", "ports": ports }],
            "initContainers": [
                { "name": "proxy", "restartPolicy": "Always", "ports": sidecar },
                { "name": "setup", "ports": setup },
            ],
        }),
        json!({}),
    )
    .unwrap();
    assert_eq!(pod.named_port("http", Protocol::Tcp), Some(8080));
    assert_eq!(pod.named_port("http", Protocol::Udp), None);
    assert_eq!(pod.named_port("dns", Protocol::Udp), Some(53));
    assert_eq!(pod.named_port("admin", Protocol::Tcp), Some(15_000));
    assert_eq!(pod.ports.len(), 4, "for policies, those of SCTP are there, too");
}

#[test]
fn labels_and_annotations_of_ours() {
    for (label, expected) in [
        (json!({}), Setting::Unset),
        (
            json!({ "mesh-agent.io/dataplane": "enabled" }),
            Setting::Set(true),
        ),
        (
            json!({ "mesh-agent.io/dataplane": "disabled" }),
            Setting::Set(false),
        ),
        (
            json!({ "mesh-agent.io/dataplane": "on" }),
            Setting::Unknown("on".to_owned()),
        ),
        (
            json!({ "mesh-agent.io/dataplane": "" }),
            Setting::Unknown(String::new()),
        ),
    ] {
        let pod = convert(json!({
            "metadata": {
                "name": "web",
                "labels": label,
                "annotations": { "mesh-agent.io/netns": "/run/netns/web" },
            },
        }))
        .unwrap();
        assert_eq!(pod.dataplane, expected);
        assert_eq!(pod.netns.as_deref(), Some("/run/netns/web"));
        assert_eq!(
            pod.doubtful().len(),
            usize::from(expected.value().is_none() && expected != Setting::Unset)
        );
    }
}

#[test]
fn mistakes_are_named_with_their_field() {
    for (result, expected) in [
        (convert(json!({})), "Pod default/: metadata.name: is missing"),
        (
            convert(json!({ "metadata": { "name": "a/b" } })),
            "Pod default/a/b: metadata.name: \"a/b\" is not a name",
        ),
        (
            pod(json!({}), json!({ "podIP": "10.0.0" })),
            "Pod shop/web: status.podIP: \"10.0.0\" is not an IP address",
        ),
        (
            pod(
                json!({}),
                json!({ "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "::" }] }),
            ),
            "Pod shop/web: status.podIPs[1].ip: :: is not the address of a host",
        ),
        (
            pod(json!({}), json!({ "phase": "running" })),
            "Pod shop/web: status.phase: \"running\" is not one of Pending, Running, Succeeded, Failed, Unknown",
        ),
        (
            pod(
                json!({ "containers": [{ "name": "a" }, { "name": "b", "ports": [{ "containerPort": 0 }] }] }),
                json!({}),
            ),
            "Pod shop/web: spec.containers[1].ports[0].containerPort: 0 is not a port",
        ),
        (
            pod(
                json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": 1, "protocol": "tcp" }] }] }),
                json!({}),
            ),
            "Pod shop/web: spec.containers[0].ports[0].protocol: \"tcp\" is not one of TCP, UDP, SCTP",
        ),
    ] {
        assert_eq!(result.unwrap_err(), expected);
    }
}

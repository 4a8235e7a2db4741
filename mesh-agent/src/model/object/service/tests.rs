#![allow(
    clippy::needless_pass_by_value,
    reason = "objects are written out where they are used"
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

fn convert(service: Value) -> Result<Service, String> {
    let service: api::Service = serde_json::from_value(service).unwrap();
    Service::try_from(service).map_err(|invalid| invalid.to_string())
}

fn with_spec(spec: Value) -> Result<Service, String> {
    convert(json!({ "metadata": { "namespace": "shop", "name": "web" }, "spec": spec }))
}

fn texts(service: &Service) -> Vec<String> {
    let texts = service.addresses.iter();
    let mut texts: Vec<_> = texts
        .map(|(addr, kind)| format!("{addr} {}", kind.name()))
        .collect();
    texts.extend(
        service
            .untouched
            .iter()
            .map(|(addr, why)| format!("{addr} untouched: {why}")),
    );
    texts.sort();
    texts
}

/// A Service with these addresses of load balancers.
fn balanced(spec: Value, ingress: Value) -> Service {
    let service = convert(json!({
        "metadata": { "name": "web" },
        "spec": spec,
        "status": { "loadBalancer": { "ingress": ingress } },
    }));
    service.unwrap()
}

/// The spec of a Service at 10.96.0.1, with more.
fn v4_and(more: Value) -> Value {
    let mut spec = json!({ "clusterIP": "10.96.0.1" });
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    spec
}

#[test]
fn clients_dial_what_the_service_says() {
    for (why, spec, ingress, expected) in [
        ("nothing", json!({}), json!([]), vec![]),
        (
            "one",
            json!({ "clusterIP": "10.96.0.1" }),
            json!([]),
            vec!["10.96.0.1 ClusterIP"],
        ),
        (
            "one in the list",
            json!({ "clusterIPs": ["10.96.0.1"] }),
            json!([]),
            vec!["10.96.0.1 ClusterIP"],
        ),
        (
            "dual stack",
            json!({ "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"] }),
            json!([]),
            vec!["10.96.0.1 ClusterIP", "fd00::1 ClusterIP"],
        ),
        (
            "an external IP, and one that is the cluster IP",
            v4_and(json!({ "externalIPs": ["203.0.113.1", "10.96.0.1"] })),
            json!([]),
            vec!["10.96.0.1 ClusterIP", "203.0.113.1 ExternalIP"],
        ),
        (
            "an external IP of a family it has no cluster IP of",
            v4_and(json!({ "externalIPs": ["2001:db8::1"] })),
            json!([{ "ip": "2001:db8::2" }]),
            vec!["10.96.0.1 ClusterIP"],
        ),
        (
            "no cluster IP",
            json!({ "clusterIP": "", "externalIPs": ["203.0.113.1"] }),
            json!([]),
            vec!["203.0.113.1 ExternalIP"],
        ),
        (
            "headless",
            json!({ "clusterIP": "None", "externalIPs": ["203.0.113.1"] }),
            json!([]),
            vec![],
        ),
        (
            "headless, listed",
            json!({ "clusterIP": "None", "clusterIPs": ["None"] }),
            json!([]),
            vec![],
        ),
        (
            "ExternalName",
            json!({ "type": "ExternalName", "externalName": "example.org", "externalIPs": ["203.0.113.1"] }),
            json!([{ "ip": "203.0.113.2" }]),
            vec![],
        ),
    ] {
        assert_eq!(texts(&balanced(spec, ingress)), expected, "{why}");
    }
}

#[test]
fn clients_dial_load_balancers_that_neither_filter_nor_proxy() {
    for (why, spec, ingress, expected) in [
        (
            "load balancers of all modes, and one with a name only",
            v4_and(json!({ "type": "LoadBalancer" })),
            json!([
                { "ip": "203.0.113.1" },
                { "ip": "203.0.113.2", "ipMode": "VIP" },
                { "ip": "203.0.113.3", "ipMode": "Proxy" },
                { "hostname": "lb.example.org" },
            ]),
            vec![
                "10.96.0.1 ClusterIP",
                "203.0.113.1 LoadBalancer",
                "203.0.113.2 LoadBalancer",
                "203.0.113.3 untouched: ipMode Proxy",
            ],
        ),
        (
            "a load balancer that filters by client",
            v4_and(json!({ "loadBalancerSourceRanges": ["192.0.2.0/24"], "externalIPs": ["203.0.113.4"] })),
            json!([{ "ip": "203.0.113.1" }, { "ip": "203.0.113.3", "ipMode": "Proxy" }]),
            vec![
                "10.96.0.1 ClusterIP",
                "203.0.113.1 untouched: loadBalancerSourceRanges",
                "203.0.113.3 untouched: ipMode Proxy",
                "203.0.113.4 ExternalIP",
            ],
        ),
        (
            "an external IP that a load balancer filters",
            v4_and(json!({ "loadBalancerSourceRanges": ["192.0.2.0/24"], "externalIPs": ["203.0.113.1"] })),
            json!([{ "ip": "203.0.113.1" }]),
            vec![
                "10.96.0.1 ClusterIP",
                "203.0.113.1 untouched: loadBalancerSourceRanges",
            ],
        ),
        (
            "an external IP that a load balancer wants to see",
            v4_and(json!({ "externalIPs": ["203.0.113.1"], "loadBalancerSourceRanges": [] })),
            json!([{ "ip": "203.0.113.1", "ipMode": "Proxy" }]),
            vec!["10.96.0.1 ClusterIP", "203.0.113.1 ExternalIP"],
        ),
    ] {
        assert_eq!(texts(&balanced(spec, ingress)), expected, "{why}");
    }
}

#[test]
fn ports_may_be_at_nodes_and_say_what_is_spoken() {
    let service = with_spec(
        json!({ "type": "LoadBalancer", "healthCheckNodePort": 32_000, "ports": [
        { "name": "a", "port": 80, "nodePort": 30_080, "appProtocol": "kubernetes.io/h2c" },
        { "name": "b", "port": 81, "nodePort": 0, "appProtocol": "" },
        { "name": "c", "port": 82 },
    ] }),
    );
    let ports = service.unwrap().ports;
    let ports: Vec<_> = ports
        .iter()
        .map(|it| (it.node_port, it.app_protocol.as_deref()))
        .collect();
    assert_eq!(
        ports,
        [
            (Some(30_080), Some("kubernetes.io/h2c")),
            (None, None),
            (None, None)
        ]
    );
}

#[test]
fn only_a_service_that_should_have_an_address_is_missing_one() {
    for (spec, expected) in [
        (json!({}), true),
        (json!({ "type": "ClusterIP" }), true),
        (json!({ "clusterIP": "10.96.0.1" }), false),
        (json!({ "externalIPs": ["203.0.113.1"] }), false),
        (json!({ "clusterIP": "None" }), false),
        (json!({ "type": "ExternalName" }), false),
    ] {
        let service = with_spec(spec.clone()).unwrap();
        assert_eq!(service.unallocated, expected, "{spec}");
        assert_eq!(service.doubtful().len(), usize::from(expected));
    }
}

#[test]
fn ports_and_their_targets() {
    let service = with_spec(json!({ "ports": [
        { "port": 80 },
        { "name": "alt", "port": 81, "targetPort": 8081 },
        { "name": "named", "port": 82, "targetPort": "http" },
        { "name": "zero", "port": 83, "targetPort": 0 },
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
        { "name": "assoc", "port": 80, "protocol": "SCTP" },
    ] }))
    .unwrap();
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|it| (it.name.as_str(), it.port, it.protocol, it.target.clone()))
        .collect();
    let number = TargetPort::Number;
    assert_eq!(
        ports,
        [
            ("", 80, Protocol::Tcp, number(80)),
            ("alt", 81, Protocol::Tcp, number(8081)),
            ("named", 82, Protocol::Tcp, TargetPort::Name("http".to_owned())),
            ("zero", 83, Protocol::Tcp, number(83)),
            ("dns", 53, Protocol::Udp, number(53)),
            ("dns-tcp", 53, Protocol::Tcp, number(53)),
        ]
    );
}

#[test]
fn affinity_has_a_time_out() {
    let timeout = |seconds: i32| json!({ "clientIP": { "timeoutSeconds": seconds } });
    for (spec, expected) in [
        (json!({}), 0),
        (
            json!({ "sessionAffinity": "None", "sessionAffinityConfig": timeout(5) }),
            0,
        ),
        (json!({ "sessionAffinity": "ClientIP" }), 10_800),
        (
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": {} }),
            10_800,
        ),
        (
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": timeout(5) }),
            5,
        ),
        (
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": timeout(86_400) }),
            86_400,
        ),
    ] {
        assert_eq!(
            with_spec(spec.clone()).unwrap().affinity_seconds,
            expected,
            "{spec}"
        );
    }
}

#[test]
fn load_balancing_is_an_annotation() {
    for (value, expected) in [
        ("random", Setting::Set(Algorithm::Random)),
        ("maglev", Setting::Set(Algorithm::Maglev)),
        ("Maglev", Setting::Unknown("Maglev".to_owned())),
    ] {
        let service = convert(json!({
            "metadata": { "name": "web", "annotations": { "mesh-agent.io/load-balancing": value } },
            "spec": { "clusterIP": "10.96.0.1" },
        }))
        .unwrap();
        assert_eq!(service.algorithm, expected);
        let doubts: Vec<_> = service.doubtful().iter().map(ToString::to_string).collect();
        match expected {
            Setting::Unknown(_) => assert_eq!(
                doubts,
                [
                    "Service default/web: metadata.annotations[mesh-agent.io/load-balancing]: \
                  \"Maglev\" is not one of random, maglev"
                ]
            ),
            _ => assert!(doubts.is_empty()),
        }
    }
}

#[test]
fn a_selector_takes_pods_with_all_its_labels() {
    let labels = |pairs: &[(&str, &str)]| {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        Labels::from(pairs.iter().map(owned).collect::<BTreeMap<_, _>>())
    };
    let service = with_spec(json!({ "selector": { "app": "web", "tier": "front" } })).unwrap();
    assert!(service.selects(&labels(&[("app", "web"), ("tier", "front"), ("more", "x")])));
    assert!(!service.selects(&labels(&[("app", "web")])));
    assert!(!service.selects(&labels(&[("app", "web"), ("tier", "back")])));
    let without = with_spec(json!({ "selector": {} })).unwrap();
    assert!(!without.selects(&labels(&[("app", "web")])));
    let elsewhere = with_spec(json!({ "type": "ExternalName", "selector": { "app": "web" } })).unwrap();
    assert!(!elsewhere.selects(&labels(&[("app", "web")])));
}

#[test]
fn mistakes_are_named_with_their_field() {
    for (spec, expected) in [
        (
            json!({ "ports": [{ "port": 80 }, { "name": "b", "port": 70_000 }] }),
            "spec.ports[1].port: 70000 is not a port",
        ),
        (
            json!({ "ports": [{ "port": 0 }] }),
            "spec.ports[0].port: 0 is not a port",
        ),
        (
            json!({ "ports": [{ "port": -1 }] }),
            "spec.ports[0].port: -1 is not a port",
        ),
        (
            json!({ "ports": [{ "port": 80, "targetPort": 65_536 }] }),
            "spec.ports[0].targetPort: 65536 is not a port",
        ),
        (
            json!({ "ports": [{ "port": 80, "targetPort": "8080" }] }),
            "spec.ports[0].targetPort: \"8080\" is not the name of a port (a number stands without quotes)",
        ),
        (
            json!({ "ports": [{ "port": 80, "protocol": "HTTP" }] }),
            "spec.ports[0].protocol: \"HTTP\" is not one of TCP, UDP, SCTP",
        ),
        (
            json!({ "ports": [{ "name": "a", "port": 80 }, { "name": "b", "port": 80 }] }),
            "spec.ports[1].port: port 80/TCP is there twice",
        ),
        (
            json!({ "ports": [{ "name": "a", "port": 80 }, { "name": "a", "port": 81 }] }),
            "spec.ports[1].name: the name \"a\" is there twice",
        ),
        (
            json!({ "ports": [{ "port": 80, "nodePort": 70_000 }] }),
            "spec.ports[0].nodePort: 70000 is not a port",
        ),
        (
            json!({ "clusterIP": "none" }),
            "spec.clusterIP: \"none\" is not an IP address",
        ),
        (
            json!({ "clusterIPs": ["10.96.0.1", "10.96.0.256"] }),
            "spec.clusterIPs[1]: \"10.96.0.256\" is not an IP address",
        ),
        (
            json!({ "externalIPs": ["0.0.0.0"] }),
            "spec.externalIPs[0]: 0.0.0.0 is not the address of a host",
        ),
        (
            json!({ "type": "Clusterip" }),
            "spec.type: \"Clusterip\" is not one of ClusterIP, NodePort, LoadBalancer, ExternalName",
        ),
        (
            json!({ "sessionAffinity": "clientIP" }),
            "spec.sessionAffinity: \"clientIP\" is not one of None, ClientIP",
        ),
        (
            json!({ "sessionAffinity": "ClientIP",
                    "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 0 } } }),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not between 1 and 86400",
        ),
        (
            json!({ "internalTrafficPolicy": "local" }),
            "spec.internalTrafficPolicy: \"local\" is not one of Cluster, Local",
        ),
    ] {
        let expected = format!("Service shop/web: {expected}");
        assert_eq!(with_spec(spec).unwrap_err(), expected);
    }
}

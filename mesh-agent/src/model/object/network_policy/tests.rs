#![allow(
    clippy::needless_pass_by_value,
    reason = "objects are written out where they are used"
)]

use std::collections::BTreeMap;

use mesh_common::addr::Addr;
use mesh_common::policy::Transport;
use serde_json::{Value, json};

use super::super::Labels;
use super::*;

fn policy(spec: Value) -> NetworkPolicy {
    let policy = json!({ "metadata": { "namespace": "shop", "name": "web", "generation": 3 }, "spec": spec });
    let policy: api::NetworkPolicy = serde_json::from_value(policy).unwrap();
    NetworkPolicy::try_from(policy).unwrap()
}

fn faults(spec: Value) -> Vec<String> {
    policy(spec).faults.iter().map(ToString::to_string).collect()
}

/// The only ingress rule.
fn rule(rule: Value) -> Rule {
    let policy = policy(json!({ "ingress": [rule] }));
    assert_eq!(policy.faults, []);
    policy.ingress.unwrap().remove(0)
}

/// What is wrong with an ingress rule, which must be left out then.
fn fault(rule: Value) -> String {
    let policy = policy(json!({ "ingress": [rule, { "ports": [{ "port": 1 }] }] }));
    let left: Vec<_> = policy.ingress.iter().flatten().map(|rule| rule.index).collect();
    assert_eq!((left, policy.faults.len()), (vec![1], 1));
    policy.faults[0].to_string()
}

fn labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    BTreeMap::from(labels).into()
}

/// Whether a selector with one expression takes no label `tier`, `tier: web`, `tier: db`.
fn takes(expression: Value) -> [bool; 3] {
    let selector = policy(json!({ "podSelector": { "matchExpressions": [expression] } })).pods;
    [labels([]), labels([("tier", "web")]), labels([("tier", "db")])].map(|labels| selector.matches(&labels))
}

#[test]
fn every_operator_means_what_kubernetes_says() {
    let with = |operator: &str, values: Value| {
        takes(json!({ "key": "tier", "operator": operator, "values": values }))
    };
    assert_eq!(with("In", json!(["web"])), [false, true, false]);
    assert_eq!(with("In", json!(["web", "db"])), [false, true, true]);
    assert_eq!(with("NotIn", json!(["web"])), [true, false, true]);
    assert_eq!(with("Exists", json!(null)), [false, true, true]);
    assert_eq!(with("Exists", json!([])), [false, true, true]);
    assert_eq!(with("DoesNotExist", json!(null)), [true, false, false]);
}

#[test]
fn all_requirements_of_a_selector_must_hold() {
    let selector = policy(json!({ "podSelector": {
        "matchLabels": { "app": "web" },
        "matchExpressions": [
            { "key": "app", "operator": "In", "values": ["web", "api"] },
            { "key": "old", "operator": "DoesNotExist" },
        ],
    } }))
    .pods;
    assert!(selector.matches(&labels([("app", "web"), ("x", "y")])));
    assert!(!selector.matches(&labels([("app", "api")])));
    assert!(!selector.matches(&labels([("app", "web"), ("old", "")])));
}

#[test]
fn an_absent_selector_is_an_empty_one_for_pods() {
    for spec in [
        json!({}),
        json!({ "podSelector": {} }),
        json!({ "podSelector": { "matchLabels": {} } }),
    ] {
        assert_eq!(policy(spec).pods, Selector::default());
    }
    assert!(Selector::default().matches(&labels([])));
}

#[test]
fn which_ways_are_isolated() {
    let isolates = |spec: Value| {
        let policy = policy(spec);
        (policy.ingress.is_some(), policy.egress.is_some())
    };
    assert_eq!(isolates(json!({})), (true, false));
    assert_eq!(isolates(json!({ "policyTypes": [] })), (true, false));
    assert_eq!(isolates(json!({ "egress": [] })), (true, false));
    assert_eq!(isolates(json!({ "egress": [{}] })), (true, true));
    assert_eq!(
        isolates(json!({ "policyTypes": ["Ingress"], "egress": [{}] })),
        (true, false)
    );
    assert_eq!(
        isolates(json!({ "policyTypes": ["Egress"], "ingress": [{}] })),
        (false, true)
    );
    assert_eq!(
        isolates(json!({ "policyTypes": ["Egress", "Ingress"] })),
        (true, true)
    );
}

#[test]
fn an_empty_list_is_as_good_as_none() {
    let all = Rule {
        index: 0,
        peers: vec![],
        ports: vec![],
    };
    assert_eq!(rule(json!({})), all);
    assert_eq!(rule(json!({ "from": [], "ports": [] })), all);
}

#[test]
fn peers_are_pods_of_the_own_or_selected_namespaces_or_addresses() {
    let empty = Selector::default;
    let peers = |peer: Value| rule(json!({ "from": [peer] })).peers.remove(0);
    let own = Peer::Pods {
        namespaces: None,
        pods: empty(),
    };
    assert_eq!(peers(json!({ "podSelector": {} })), own);
    let all = Peer::Pods {
        namespaces: Some(empty()),
        pods: empty(),
    };
    assert_eq!(peers(json!({ "namespaceSelector": {} })), all);
    assert_eq!(peers(json!({ "namespaceSelector": {}, "podSelector": {} })), all);
    let Peer::Block(block) = peers(json!({ "ipBlock": { "cidr": "10.1.2.3/8", "except": ["10.2.0.0/16"] } }))
    else {
        panic!("no block")
    };
    assert_eq!(block.cidr.to_string(), "10.0.0.0/8");
    assert_eq!(block.except[0].to_string(), "10.2.0.0/16");
}

#[test]
fn ports_are_all_a_number_a_range_or_a_name() {
    let port = |port: Value| rule(json!({ "ports": [port] })).ports.remove(0);
    let tcp = |range| PortRule {
        transport: Transport::Tcp,
        range,
    };
    assert_eq!(port(json!({})), tcp(PortRange::All));
    assert_eq!(
        port(json!({ "port": 80 })),
        tcp(PortRange::Numbers { first: 80, last: 80 })
    );
    assert_eq!(
        port(json!({ "port": 80, "endPort": 80 })),
        tcp(PortRange::Numbers { first: 80, last: 80 })
    );
    assert_eq!(
        port(json!({ "port": 80, "endPort": 65535 })),
        tcp(PortRange::Numbers {
            first: 80,
            last: 65535
        })
    );
    assert_eq!(
        port(json!({ "port": "http" })),
        tcp(PortRange::Named("http".to_owned()))
    );
    for transport in Transport::ALL {
        let port = port(json!({ "protocol": transport.name() }));
        assert_eq!(
            port,
            PortRule {
                transport,
                range: PortRange::All
            }
        );
    }
}

#[test]
fn a_rule_with_a_fault_allows_nothing_and_is_named() {
    let ports = |port: Value| fault(json!({ "ports": [{ "port": 1 }, port] }));
    let at = |field: &str, what: &str| format!("NetworkPolicy shop/web: spec.ingress[0].{field}: {what}");
    assert_eq!(
        ports(json!({ "port": 0 })),
        at("ports[1].port", "0 is not a port")
    );
    assert_eq!(
        ports(json!({ "protocol": "ICMP" })),
        at("ports[1].protocol", r#""ICMP" is not one of TCP, UDP, SCTP"#)
    );
    assert_eq!(
        ports(json!({ "port": 80, "endPort": 79 })),
        at("ports[1].endPort", "79 is not between 80 and 65535")
    );
    assert_eq!(
        ports(json!({ "endPort": 79 })),
        at("ports[1].endPort", "cannot be set: there is no port")
    );
    assert_eq!(
        ports(json!({ "port": "http", "endPort": 79 })),
        at("ports[1].endPort", "cannot be set: the port is a name")
    );
    assert!(
        ports(json!({ "port": "80" })).starts_with(&at("ports[1].port", r#""80" is not the name of a port"#))
    );

    let peer = |peer: Value| fault(json!({ "from": [peer] }));
    assert_eq!(peer(json!({})), at("from[0]", "is missing"));
    assert_eq!(
        peer(json!({ "ipBlock": { "cidr": "10.0.0.0/8" }, "podSelector": {} })),
        at("from[0].ipBlock", "cannot be set: selectors stand beside it")
    );
    for wrong in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/+8",
        "10.0.0/8",
        "::/129",
        "web/8",
        "::/",
    ] {
        let what = format!("{wrong:?} is not a CIDR (as in 10.0.0.0/8 or fd00::/8)");
        assert_eq!(
            peer(json!({ "ipBlock": { "cidr": wrong } })),
            at("from[0].ipBlock.cidr", &what)
        );
    }
    for hole in ["11.0.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "fd00::/16"] {
        let what = format!("{hole} is not a strict part of 10.0.0.0/8");
        let block = json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", hole] } });
        assert_eq!(peer(block), at("from[0].ipBlock.except[1]", &what));
    }
    let select = |expression: Value| peer(json!({ "podSelector": { "matchExpressions": [expression] } }));
    let at = |field: &str, what: &str| at(&format!("from[0].podSelector.matchExpressions[0].{field}"), what);
    assert_eq!(
        select(json!({ "key": "", "operator": "Exists" })),
        at("key", "is missing")
    );
    assert_eq!(
        select(json!({ "key": "a", "operator": "In" })),
        at("values", "is missing")
    );
    assert_eq!(
        select(json!({ "key": "a", "operator": "Exists", "values": ["b"] })),
        at("values", "cannot be set: this operator looks at no values")
    );
    assert_eq!(
        select(json!({ "key": "a", "operator": "Gt", "values": ["1"] })),
        at(
            "operator",
            r#""Gt" is not one of In, NotIn, Exists, DoesNotExist"#
        )
    );
}

#[test]
fn what_cannot_be_read_isolates_more_never_less() {
    let spec = json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "like" }] } });
    assert_eq!(policy(spec.clone()).pods, Selector::default());
    assert_eq!(faults(spec).len(), 1);
    let spec = json!({ "policyTypes": ["Ingress", "Sideways"], "ingress": [{}] });
    let policy = policy(spec.clone());
    assert_eq!(
        (policy.ingress.map(|it| it.len()), policy.egress),
        (Some(1), Some(vec![]))
    );
    assert_eq!(
        faults(spec),
        [r#"NetworkPolicy shop/web: spec.policyTypes[1]: "Sideways" is not one of Ingress, Egress"#]
    );
}

#[test]
fn without_a_name_it_is_nothing() {
    let nameless: api::NetworkPolicy = serde_json::from_value(json!({ "metadata": {} })).unwrap();
    let error = NetworkPolicy::try_from(nameless).unwrap_err().to_string();
    assert_eq!(error, "NetworkPolicy default/: metadata.name: is missing");
}

fn cidr(text: &str) -> Cidr {
    Cidr::parse(text).unwrap()
}

#[test]
fn bits_of_the_host_and_leading_zeros_do_not_count() {
    let pairs = [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("010.000.0.1/32", "10.0.0.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::ffff:10.1.0.0/104", "10.0.0.0/8"),
        ("FD00:1::5/16", "fd00::/16"),
        ("::/0", "::/0"),
        ("::1/128", "::1/128"),
    ];
    for (text, canonical) in pairs {
        assert_eq!(cidr(text).to_string(), canonical);
        assert_eq!(cidr(canonical), cidr(text));
    }
}

#[test]
fn no_prefix_of_ipv6_contains_ipv4() {
    let has = |block: &str, ip: &str| {
        let addr: Addr = ip.parse::<std::net::IpAddr>().unwrap().into();
        cidr(block).contains(&Cidr::host(&addr))
    };
    for wide in ["::/0", "::/64", "::ffff:0:0/95"] {
        assert!(
            !has(wide, "10.0.0.1") && has(wide, "::1") == (wide != "::ffff:0:0/95"),
            "{wide}"
        );
    }
    assert!(has("0.0.0.0/0", "10.0.0.1") && !has("0.0.0.0/0", "::1"));
    assert!(has("10.0.0.0/31", "10.0.0.1") && !has("10.0.0.0/32", "10.0.0.1"));
    assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe00::1"));
}

#[test]
fn a_hole_is_no_part_of_its_block() {
    let block = IpBlock {
        cidr: cidr("10.0.0.0/8"),
        except: vec![cidr("10.1.0.0/16"), cidr("10.1.2.0/24")],
    };
    let has = |ip: [u8; 4]| block.contains(&std::net::Ipv4Addr::from(ip).into());
    assert!(has([10, 0, 0, 1]) && has([10, 255, 255, 255]) && has([10, 2, 0, 0]));
    assert!(!has([10, 1, 0, 0]) && !has([10, 1, 2, 3]) && !has([10, 1, 255, 255]) && !has([11, 0, 0, 0]));
}

#[test]
fn policies_can_be_read_back() {
    let selector = |selector: Value| policy(json!({ "podSelector": selector })).pods.to_string();
    assert_eq!(selector(json!({})), "all");
    assert_eq!(
        selector(json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["b", "a"] },
                { "key": "track", "operator": "NotIn", "values": ["canary"] },
                { "key": "x", "operator": "Exists" },
                { "key": "y", "operator": "DoesNotExist" },
            ],
        })),
        "app=web,tier in (a,b),track notin (canary),x,!y"
    );
    let rule = rule(json!({
        "from": [
            { "podSelector": { "matchLabels": { "app": "client" } } },
            { "namespaceSelector": { "matchLabels": { "team": "a" } } },
            { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.2.0.0/16", "10.1.0.0/16"] } },
            { "ipBlock": { "cidr": "fd00::/8" } },
        ],
        "ports": [
            { "port": 80 },
            { "port": 80, "endPort": 90, "protocol": "UDP" },
            { "port": "http" },
            { "protocol": "SCTP" },
        ],
    }));
    let texts = |parts: Vec<String>| parts.join("; ");
    assert_eq!(
        texts(rule.peers.iter().map(ToString::to_string).collect()),
        "pods app=client; pods all in namespaces team=a; 10.0.0.0/8 except 10.1.0.0/16, 10.2.0.0/16; fd00::/8"
    );
    assert_eq!(
        texts(rule.ports.iter().map(ToString::to_string).collect()),
        "TCP/80; UDP/80-90; TCP/http; SCTP"
    );
}

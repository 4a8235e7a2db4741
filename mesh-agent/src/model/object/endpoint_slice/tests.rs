#![allow(
    clippy::needless_pass_by_value,
    reason = "objects are written out where they are used"
)]

use serde_json::{Value, json};

use super::*;

fn convert(slice: Value) -> Result<EndpointSlice, String> {
    let slice: api::EndpointSlice = serde_json::from_value(slice).unwrap();
    EndpointSlice::try_from(slice).map_err(|invalid| invalid.to_string())
}

fn with(address_type: &str, endpoints: Value, ports: Value) -> Result<EndpointSlice, String> {
    convert(json!({
        "metadata": {
            "namespace": "shop",
            "name": "web-1",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "addressType": address_type,
        "endpoints": endpoints,
        "ports": ports,
    }))
}

fn endpoint(endpoint: Value) -> SliceEndpoint {
    let slice = with("IPv4", json!([endpoint]), json!([])).unwrap();
    slice.endpoints.into_iter().next().unwrap()
}

#[test]
fn a_slice_belongs_to_the_service_its_label_names() {
    let slice = with("IPv4", json!([]), json!([])).unwrap();
    assert_eq!(slice.service, Some(ObjectName::new("shop", "web")));
    let nobodys = convert(json!({ "metadata": { "name": "x" }, "addressType": "IPv4" })).unwrap();
    assert_eq!(nobodys.service, None);
}

#[test]
fn domain_names_are_left_out() {
    let slice = with(
        "FQDN",
        json!([{ "addresses": ["web.example.org"] }]),
        json!([{ "port": 80 }]),
    );
    assert_eq!(slice.unwrap().endpoints, []);
}

#[test]
fn ports_without_a_number_or_of_other_protocols_are_left_out() {
    let ports = json!([
        { "port": 8080 },
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "all" },
        { "name": "zero", "port": 0 },
        { "name": "assoc", "port": 5, "protocol": "SCTP" },
    ]);
    let slice = with("IPv4", json!([]), ports).unwrap();
    let port = |name: &str, protocol, port| SlicePort {
        name: name.to_owned(),
        protocol,
        port,
    };
    assert_eq!(
        slice.ports,
        [port("", Protocol::Tcp, 8080), port("dns", Protocol::Udp, 53)]
    );
}

#[test]
fn what_is_not_said_of_an_endpoint_is_good() {
    for (conditions, (ready, serving, terminating)) in [
        (Value::Null, (true, true, false)),
        (json!({}), (true, true, false)),
        (json!({ "ready": false }), (false, true, false)),
        (
            json!({ "ready": false, "terminating": true }),
            (false, true, true),
        ),
        (json!({ "serving": false }), (true, false, false)),
        (
            json!({ "ready": false, "serving": true, "terminating": true }),
            (false, true, true),
        ),
        (json!({ "ready": true, "serving": false }), (true, false, false)),
    ] {
        let endpoint = endpoint(json!({ "addresses": ["10.0.0.1"], "conditions": conditions }));
        let expected = Conditions {
            ready,
            serving,
            terminating,
        };
        assert_eq!(endpoint.conditions, expected, "{conditions}");
    }
}

#[test]
fn an_endpoint_may_refer_to_a_pod() {
    let target = |target: Value| endpoint(json!({ "addresses": ["10.0.0.1"], "targetRef": target })).target;
    let pod = |namespace: &str, uid: Option<&str>| {
        Some(TargetPod {
            name: ObjectName::new(namespace, "web-0"),
            uid: uid.map(Arc::from),
        })
    };
    assert_eq!(
        target(json!({ "kind": "Pod", "name": "web-0" })),
        pod("shop", None)
    );
    assert_eq!(
        target(json!({ "kind": "Pod", "name": "web-0", "namespace": "other", "uid": "u" })),
        pod("other", Some("u"))
    );
    assert_eq!(target(json!({ "kind": "Node", "name": "web-0" })), None);
    assert_eq!(target(json!({ "kind": "Pod" })), None);
}

#[test]
fn what_is_said_of_an_endpoint_holds_for_each_address() {
    let hinted = json!({
        "addresses": ["10.0.0.1", "10.0.0.2"],
        "nodeName": "node1",
        "hints": { "forZones": [{ "name": "a" }, { "name": "b" }] },
    });
    let slice = with(
        "IPv4",
        json!([hinted, { "addresses": ["10.0.0.3"], "hints": {} }]),
        json!([]),
    )
    .unwrap();
    let addresses: Vec<_> = slice.endpoints.iter().map(|it| it.addr.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    for endpoint in &slice.endpoints[..2] {
        let hints = endpoint.hints.as_deref().unwrap();
        assert_eq!(
            (&hints.zones[..], &hints.nodes[..]),
            (&["a".to_owned(), "b".to_owned()][..], &[][..])
        );
        assert_eq!(endpoint.node.as_deref(), Some("node1"));
    }
    assert_eq!(
        (&slice.endpoints[2].hints, &slice.endpoints[2].node),
        (&None, &None)
    );
}

#[test]
fn mistakes_are_named_with_their_field() {
    let address = |address: &str| json!([{ "addresses": ["10.0.0.1"] }, { "addresses": [address] }]);
    for (result, expected) in [
        (
            with("", json!([]), json!([])),
            "addressType: \"\" is not one of IPv4, IPv6, FQDN",
        ),
        (
            with("ipv4", json!([]), json!([])),
            "addressType: \"ipv4\" is not one of IPv4, IPv6, FQDN",
        ),
        (
            with("IPv4", address("web"), json!([])),
            "endpoints[1].addresses[0]: \"web\" is not an IP address",
        ),
        (
            with("IPv4", address("fd00::1"), json!([])),
            "endpoints[1].addresses[0]: fd00::1 is not an IPv4 address",
        ),
        (
            with("IPv6", address("fd00::1"), json!([])),
            "endpoints[0].addresses[0]: 10.0.0.1 is not an IPv6 address",
        ),
        (
            with("IPv4", json!([{ "addresses": [] }]), json!([])),
            "endpoints[0].addresses: is missing",
        ),
        (
            with("IPv4", json!([]), json!([{ "port": 65_536 }])),
            "ports[0].port: 65536 is not a port",
        ),
        (
            with("IPv4", json!([]), json!([{ "port": 1, "protocol": "x" }])),
            "ports[0].protocol: \"x\" is not one of TCP, UDP, SCTP",
        ),
    ] {
        assert_eq!(
            result.unwrap_err(),
            format!("EndpointSlice shop/web-1: {expected}")
        );
    }
}

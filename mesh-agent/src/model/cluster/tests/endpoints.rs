//! Services whose endpoints come from slices.

use super::*;

fn at(address: &str) -> Value {
    json!({ "addresses": [address] })
}

#[test]
fn slices_add_up_and_duplicates_collapse() {
    let cluster = cluster([
        service(json!({})),
        slice("a", json!([at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.1")])),
        slice(
            "b",
            json!([{ "addresses": ["10.0.0.2", "10.0.0.3", "10.0.0.3"] }]),
        ),
    ]);
    assert_eq!(
        endpoints(&cluster),
        ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]
    );
}

#[test]
fn a_duplicate_is_used_when_one_of_the_two_is_good() {
    let gone = json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": false, "terminating": true } });
    let cluster = cluster([
        service(json!({})),
        slice("a", json!([gone])),
        slice("b", json!([at("10.0.0.1")])),
    ]);
    assert_eq!(endpoints(&cluster), ["10.0.0.1:8080"]);
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    let ports = json!([
        { "name": "http", "port": 80 },
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "other", "port": 81 },
    ]);
    let slice_ports = json!([
        { "name": "http", "port": 8080 },
        { "name": "dns", "port": 5353, "protocol": "UDP" },
        { "name": "other", "port": 8081, "protocol": "UDP" },
        { "port": 1 },
    ]);
    let cluster = cluster([
        service(json!({ "spec": { "ports": ports } })),
        slice_of("web", "a", "IPv4", slice_ports, json!([at("10.0.0.1")])),
    ]);
    let ports = cluster.service(&web()).unwrap();
    let found: Vec<_> = ports
        .iter()
        .map(|(key, port)| {
            (
                key.port,
                key.protocol.name(),
                port.port_name.as_str(),
                texts(port),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (53, "UDP", "dns", vec!["10.0.0.1:5353".to_owned()]),
            (80, "TCP", "http", vec!["10.0.0.1:8080".to_owned()]),
            (81, "TCP", "other", vec![]),
        ]
    );
}

#[test]
fn each_family_has_its_own_endpoints() {
    let v6 = |endpoints| slice_of("web", "six", "IPv6", json!([{ "port": 8080 }]), endpoints);
    let dual = json!({ "spec": { "clusterIPs": ["10.96.0.1", "fd00::1"], "externalIPs": ["203.0.113.1"] } });
    let mut cluster = cluster([
        service(dual),
        slice("four", json!([at("10.0.0.1")])),
        v6(json!([at("fd00::a")])),
    ]);
    let (four, six) = (port(&cluster, 80, Family::V4), port(&cluster, 80, Family::V6));
    assert_eq!(texts(&four), ["10.0.0.1:8080"]);
    assert_eq!(texts(&six), ["[fd00::a]:8080"]);
    assert_eq!((four.frontends.len(), six.frontends.len()), (2, 1));

    let _ = upsert(&mut cluster, [v6(json!([]))]);
    let six = port(&cluster, 80, Family::V6);
    assert_eq!((six.frontends.len(), six.endpoints.len()), (1, 0));
}

#[test]
fn a_family_without_an_address_of_the_service_is_nothing() {
    let cluster = cluster([
        service(json!({})),
        slice_of(
            "web",
            "six",
            "IPv6",
            json!([{ "port": 8080 }]),
            json!([at("fd00::a")]),
        ),
    ]);
    let ports = cluster.service(&web()).unwrap().into_keys();
    assert_eq!(ports.map(|key| key.family).collect::<Vec<_>>(), [Family::V4]);
}

#[test]
fn nobody_dials_headless_services_and_names() {
    for spec in [
        json!({ "clusterIP": "None" }),
        json!({ "type": "ExternalName", "clusterIP": null, "externalName": "example.org" }),
    ] {
        let cluster = cluster([
            service(json!({ "spec": spec })),
            slice("a", json!([at("10.0.0.1")])),
        ]);
        assert_eq!(cluster.service(&web()), Some(ServicePorts::new()));
    }
}

#[test]
fn an_endpoint_is_the_pod_it_refers_to() {
    let refers = |target: Value| json!({ "addresses": ["10.0.0.1"], "targetRef": target });
    let by_uid = |uid: &str| refers(json!({ "kind": "Pod", "name": "a", "uid": uid }));
    let by_name = || refers(json!({ "kind": "Pod", "name": "a" }));
    let at_ip = |ip: &str| pod("a", ip, json!({}));
    let bare = |ip: &str| pod("a", ip, json!({ "metadata": { "uid": null } }));
    let ended = json!({ "status": { "phase": "Succeeded" } });
    let of_node = json!({ "spec": { "hostNetwork": true } });
    for (why, pod, endpoint, expected) in [
        ("uid", at_ip("10.0.0.1"), by_uid("uid-a"), "10.0.0.1:8080 a"),
        (
            "uid, no address yet",
            at_ip(""),
            by_uid("uid-a"),
            "10.0.0.1:8080 a",
        ),
        (
            "uid, other address",
            at_ip("10.0.0.9"),
            by_uid("uid-a"),
            "10.0.0.1:8080 a",
        ),
        (
            "created anew",
            at_ip("10.0.0.9"),
            by_uid("uid-old"),
            "10.0.0.1:8080",
        ),
        (
            "created anew, same address",
            at_ip("10.0.0.1"),
            by_uid("uid-old"),
            "10.0.0.1:8080 a",
        ),
        ("manifest", bare("10.0.0.1"), by_name(), "10.0.0.1:8080 a"),
        (
            "manifest, uid in the slice",
            bare("10.0.0.1"),
            by_uid("u"),
            "10.0.0.1:8080 a",
        ),
        (
            "manifest, other address",
            bare("10.0.0.9"),
            by_uid("u"),
            "10.0.0.1:8080",
        ),
        ("by address", at_ip("10.0.0.1"), at("10.0.0.1"), "10.0.0.1:8080 a"),
        (
            "by address, no pod",
            at_ip("10.0.0.2"),
            at("10.0.0.1"),
            "10.0.0.1:8080",
        ),
        (
            "ended",
            pod("a", "10.0.0.1", ended),
            by_uid("uid-a"),
            "10.0.0.1:8080",
        ),
        (
            "host network",
            pod("a", "10.0.0.1", of_node),
            by_uid("uid-a"),
            "10.0.0.1:8080",
        ),
    ] {
        let cluster = cluster([service(json!({})), slice("s", json!([endpoint])), pod]);
        assert_eq!(endpoints(&cluster), [expected], "{why}");
        for endpoint in port(&cluster, 80, Family::V4).endpoints {
            assert!(
                endpoint.pod.is_none_or(|key| cluster.workload(&key).is_some()),
                "{why}"
            );
        }
    }
}

#[test]
fn zones_come_from_our_own_node() {
    let hinted = |address: &str, zone: &str| json!({ "addresses": [address], "hints": { "forZones": [{ "name": zone }] } });
    let mut cluster = cluster([
        service(json!({})),
        slice("s", json!([hinted("10.0.0.1", "a"), hinted("10.0.0.2", "b")])),
    ]);
    assert_eq!(endpoints(&cluster).len(), 2);
    assert!(upsert(&mut cluster, [node("there", "b")]).is_empty());
    assert_eq!(endpoints(&cluster).len(), 2);
    let dirty = upsert(&mut cluster, [node("here", "b")]);
    assert!(dirty.services.contains(&web()));
    assert_eq!(endpoints(&cluster), ["10.0.0.2:8080"]);
    let _ = cluster.apply(Event::Delete(ObjectRef::Node("here".to_owned())));
    assert_eq!(endpoints(&cluster).len(), 2);
}

#[test]
fn local_traffic_stays_on_the_node() {
    let on = |address: &str, node: &str| json!({ "addresses": [address], "nodeName": node });
    let there = || on("10.0.0.1", "there");
    let mut cluster = cluster([
        service(json!({ "spec": { "internalTrafficPolicy": "Local" } })),
        slice(
            "s",
            json!([there(), on("10.0.0.2", "here"), at("10.0.0.3"), at("10.0.0.4")]),
        ),
        pod("a", "10.0.0.3", json!({})),
        pod("b", "10.0.0.4", json!({ "spec": { "nodeName": "there" } })),
    ]);
    assert_eq!(endpoints(&cluster), ["10.0.0.2:8080", "10.0.0.3:8080 a"]);
    let _ = upsert(&mut cluster, [slice("s", json!([there()]))]);
    assert_eq!(endpoints(&cluster), [""; 0]);
}

#[test]
fn settings_of_a_service_arrive() {
    let cluster = cluster([service(json!({
        "metadata": { "annotations": { "mesh-agent.io/load-balancing": "maglev" } },
        "spec": { "sessionAffinity": "ClientIP" },
    }))]);
    let port = port(&cluster, 80, Family::V4);
    assert_eq!(
        (port.algorithm, port.affinity_seconds),
        (Algorithm::Maglev, 10_800)
    );
    assert_eq!(problems(&cluster), [""; 0]);
}

#[test]
fn settings_that_mean_nothing_are_reported_until_they_are_mended() {
    let annotated = |value: &str| {
        service(json!({ "metadata": { "annotations": { "mesh-agent.io/load-balancing": value } } }))
    };
    let mut cluster = cluster([annotated("fair"), namespace("shop", "yes")]);
    assert_eq!(
        problems(&cluster),
        [
            "Namespace shop: metadata.labels[mesh-agent.io/dataplane]: \
             \"yes\" is not one of enabled, disabled",
            "Service shop/web: metadata.annotations[mesh-agent.io/load-balancing]: \
             \"fair\" is not one of random, maglev",
        ]
    );
    assert_eq!(port(&cluster, 80, Family::V4).algorithm, Algorithm::Random);
    let _ = upsert(&mut cluster, [annotated("random")]);
    let _ = cluster.apply(Event::Delete(ObjectRef::Namespace("shop".to_owned())));
    assert_eq!(problems(&cluster), [""; 0]);
}

#[test]
fn a_service_that_goes_is_gone() {
    let mut cluster = cluster([service(json!({})), slice("s", json!([at("10.0.0.1")]))]);
    let dirty = cluster.apply(Event::Delete(ObjectRef::Service(web())));
    assert!(dirty.services.contains(&web()));
    assert_eq!(cluster.service(&web()), None);
    assert_eq!(cluster.services().count(), 0);
}

#[test]
fn a_slice_may_change_its_service() {
    let other = json!({ "metadata": { "name": "other" }, "spec": { "clusterIP": "10.96.0.2" } });
    let belongs = |to: &str| {
        slice_of(
            to,
            "s",
            "IPv4",
            json!([{ "port": 8080 }]),
            json!([at("10.0.0.1")]),
        )
    };
    let mut cluster = cluster([service(json!({})), service(other), belongs("web")]);
    let dirty = upsert(&mut cluster, [belongs("other")]);
    let touched: Vec<_> = dirty.services.iter().map(|it| &*it.name).collect();
    assert_eq!(touched, ["other", "web"]);
    assert_eq!(endpoints(&cluster), [""; 0]);
}

#[test]
fn endpoints_that_are_not_used_are_told() {
    let with = |address: &str, conditions: Value| json!({ "addresses": [address], "conditions": conditions });
    let cluster = cluster([
        service(json!({})),
        slice(
            "a",
            json!([
                at("10.0.0.1"),
                with("10.0.0.2", json!({ "ready": false, "serving": false })),
                with("10.0.0.3", json!({ "ready": false, "terminating": true })),
            ]),
        ),
        // Good here and bad there is good.
        slice("b", json!([with("10.0.0.1", json!({ "ready": false }))])),
        pod("b", "10.0.0.2", json!({})),
    ]);
    let key = *cluster.service(&web()).unwrap().first_key_value().unwrap().0;
    let unused = cluster.unused(&web(), key).into_iter();
    let unused: Vec<_> = unused
        .map(|(it, why)| {
            format!(
                "{} {}: {why}",
                it.addr,
                it.pod.map_or_else(String::new, |pod| pod.to_string())
            )
        })
        .collect();
    assert_eq!(unused, ["10.0.0.2 shop/b: not ready", "10.0.0.3 : terminating"]);
    let other = PortKey { port: 81, ..key };
    assert_eq!(cluster.unused(&web(), other), []);
}

#[test]
fn odd_slices() {
    let of_pod = |address: &str, pod: &str| {
        let target = json!({ "kind": "Pod", "name": pod, "uid": format!("uid-{pod}") });
        json!({ "addresses": [address], "targetRef": target })
    };
    let nobodys = || {
        object(json!({
            "kind": "EndpointSlice",
            "metadata": { "namespace": "shop", "name": "nobodys" },
            "addressType": "IPv4",
            "ports": [{ "port": 8080 }],
            "endpoints": [at("10.0.0.9")],
        }))
    };
    let ending = json!({ "ready": true, "serving": true, "terminating": true });
    let published = json!({ "addresses": ["10.0.0.1"], "conditions": ending });
    let ported = |name: &str, port: Value, address: &str| {
        slice_of("web", name, "IPv4", json!([port]), json!([at(address)]))
    };
    for (why, slices, expected) in [
        ("of no Service", vec![nobodys()], vec![]),
        (
            "one address of two pods is its owner's",
            vec![slice(
                "s",
                json!([of_pod("10.0.0.1", "old"), of_pod("10.0.0.1", "a")]),
            )],
            vec!["10.0.0.1:8080 a"],
        ),
        (
            "the same in two slices",
            vec![
                slice("s", json!([of_pod("10.0.0.1", "old")])),
                slice("t", json!([of_pod("10.0.0.1", "a")])),
            ],
            vec!["10.0.0.1:8080 a"],
        ),
        (
            "each with a port of its own",
            vec![
                ported("s", json!({ "port": 8080 }), "10.0.0.2"),
                ported("t", json!({ "port": 9090 }), "10.0.0.3"),
                ported("u", json!({ "port": 9090 }), "10.0.0.2"),
            ],
            vec!["10.0.0.2:8080", "10.0.0.2:9090", "10.0.0.3:9090"],
        ),
        (
            "ports without a number, or of other names",
            vec![
                ported("s", json!({}), "10.0.0.2"),
                ported("t", json!({ "name": "http", "port": 80 }), "10.0.0.3"),
                ported("u", json!({ "name": "", "port": 80 }), "10.0.0.4"),
            ],
            vec!["10.0.0.4:80"],
        ),
        (
            "ready while it ends, as publishNotReadyAddresses has it",
            vec![slice("s", json!([published, at("10.0.0.2")]))],
            vec!["10.0.0.1:8080 a", "10.0.0.2:8080"],
        ),
    ] {
        let by_hand = || service(json!({ "spec": { "selector": null } }));
        let mut cluster = cluster([by_hand(), pod("a", "10.0.0.1", json!({}))]);
        let pod_old = pod("old", "10.0.0.7", json!({}));
        let _ = upsert(&mut cluster, [pod_old].into_iter().chain(slices));
        assert_eq!(endpoints(&cluster), expected, "{why}");
        // The slices outlive their Service, and are there when it comes back.
        let _ = cluster.apply(Event::Delete(ObjectRef::Service(web())));
        assert_eq!(cluster.service(&web()), None);
        let _ = upsert(&mut cluster, [by_hand()]);
        assert_eq!(endpoints(&cluster), expected, "{why}, again");
    }
}

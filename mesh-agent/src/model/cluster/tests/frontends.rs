//! What clients dial, which endpoints it leads to, and what is left to the host.

use super::*;

/// All that clients dial for `shop/web`, each as `address:port type`, and then where it leads or why it is
/// left alone.
fn dialled(cluster: &Cluster) -> Vec<String> {
    let ports = cluster.service(&web()).unwrap_or_default();
    let leads = |dialled: &Dialled| {
        let port = ports
            .values()
            .find(|port| port.frontends.contains(&dialled.frontend));
        port.map_or_else(|| "nowhere".to_owned(), |port| texts(port).join(" "))
    };
    let mut lines = Vec::new();
    for port in cluster.dialled(&web()) {
        for dialled in &port.frontends {
            let socket = mesh_common::addr::socket_addr(dialled.frontend.addr, dialled.frontend.port);
            let leads = match dialled.untouched {
                Some(why) => {
                    assert_eq!(leads(dialled), "nowhere");
                    format!("untouched: {why}")
                }
                None => leads(dialled),
            };
            lines.push(format!("{socket} {}: {leads}", dialled.kind.name()));
        }
    }
    lines
}

fn our_node(zone: &str, addresses: &[(&str, &str)]) -> Object {
    let addresses: Vec<_> = addresses
        .iter()
        .map(|(kind, address)| json!({ "type": kind, "address": address }))
        .collect();
    object(json!({
        "kind": "Node",
        "metadata": { "name": "here", "labels": { "topology.kubernetes.io/zone": zone } },
        "status": { "addresses": addresses },
    }))
}

fn on(address: &str, node: &str) -> Value {
    json!({ "addresses": [address], "nodeName": node })
}

fn host(cluster: &mut Cluster, addresses: &[&str]) -> Dirty {
    cluster.set_host_addresses(addresses.iter().map(|it| addr(it)).collect())
}

fn names(dirty: &Dirty) -> Vec<String> {
    dirty.services.iter().map(|it| it.name.to_string()).collect()
}

/// `shop/<name>` with a node port.
fn at_nodes(name: &str, ip: &str, port: u16) -> Object {
    service(json!({
        "metadata": { "name": name },
        "spec": { "type": "NodePort", "clusterIP": ip, "ports": [{ "port": 80, "nodePort": port }] },
    }))
}

const BOTH: [(&str, &str); 3] = [
    ("InternalIP", "192.168.0.1"),
    ("ExternalIP", "203.0.113.9"),
    ("InternalIP", "fd00::9"),
];

#[test]
fn outside_addresses_and_policies() {
    let everywhere = json!({
        "type": "LoadBalancer",
        "ports": [{ "port": 80, "nodePort": 30_080 }],
        "externalIPs": ["203.0.113.1"],
    });
    let status = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.2" }] } });
    let (all, here) = ("10.0.0.1:8080 10.0.0.2:8080", "10.0.0.2:8080");
    for (policies, cluster_ip, outside) in [
        (json!({}), all, all),
        (json!({ "externalTrafficPolicy": "Local" }), all, all),
        (json!({ "internalTrafficPolicy": "Local" }), here, all),
        (
            json!({ "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local" }),
            here,
            all,
        ),
    ] {
        let mut spec = everywhere.clone();
        merge(&mut spec, policies.clone());
        let cluster = cluster([
            our_node("a", &[("InternalIP", "192.168.0.1")]),
            service(json!({ "spec": spec, "status": status })),
            slice("s", json!([on("10.0.0.1", "there"), on("10.0.0.2", "here")])),
        ]);
        let expected = [
            format!("10.96.0.1:80 ClusterIP: {cluster_ip}"),
            format!("203.0.113.1:80 ExternalIP: {outside}"),
            format!("203.0.113.2:80 LoadBalancer: {outside}"),
            format!("192.168.0.1:30080 NodePort: {outside}"),
        ];
        assert_eq!(dialled(&cluster), expected, "{policies}");
    }
}

#[test]
fn local_without_a_local_endpoint_refuses_and_the_outside_does_not() {
    let cluster = cluster([
        our_node("a", &[("InternalIP", "192.168.0.1")]),
        service(json!({ "spec": {
            "type": "NodePort",
            "internalTrafficPolicy": "Local",
            "ports": [{ "port": 80, "nodePort": 30_080 }],
        } })),
        slice("s", json!([on("10.0.0.1", "there")])),
    ]);
    assert_eq!(
        dialled(&cluster),
        [
            "10.96.0.1:80 ClusterIP: ",
            "192.168.0.1:30080 NodePort: 10.0.0.1:8080"
        ]
    );
}

#[test]
fn hints_hold_for_the_outside_of_local_services() {
    let hinted = |address: &str, node: &str, zone: &str| json!({ "addresses": [address], "nodeName": node, "hints": { "forZones": [{ "name": zone }] } });
    let cluster = cluster([
        our_node("a", &[("InternalIP", "192.168.0.1")]),
        service(json!({ "spec": {
            "internalTrafficPolicy": "Local",
            "ports": [{ "port": 80, "nodePort": 30_080 }],
        } })),
        slice(
            "s",
            json!([hinted("10.0.0.1", "there", "a"), hinted("10.0.0.2", "here", "b")]),
        ),
    ]);
    assert_eq!(
        dialled(&cluster),
        [
            "10.96.0.1:80 ClusterIP: 10.0.0.2:8080",
            "192.168.0.1:30080 NodePort: 10.0.0.1:8080"
        ]
    );
}

#[test]
fn node_ports_are_at_our_node_in_the_families_of_the_service() {
    let there = object(json!({
        "kind": "Node",
        "metadata": { "name": "there" },
        "status": { "addresses": [{ "type": "InternalIP", "address": "192.168.0.2" }] },
    }));
    for (why, ips, nodes, expected) in [
        ("no node", json!(["10.96.0.1"]), vec![], vec!["10.96.0.1:80"]),
        (
            "another node",
            json!(["10.96.0.1"]),
            vec![there],
            vec!["10.96.0.1:80"],
        ),
        (
            "one family",
            json!(["10.96.0.1"]),
            vec![our_node("a", &BOTH)],
            vec!["10.96.0.1:80", "192.168.0.1:30080", "203.0.113.9:30080"],
        ),
        (
            "both",
            json!(["10.96.0.1", "fd00::1"]),
            vec![our_node("a", &BOTH)],
            vec![
                "10.96.0.1:80",
                "192.168.0.1:30080",
                "203.0.113.9:30080",
                "[fd00::1]:80",
                "[fd00::9]:30080",
            ],
        ),
        ("headless", json!(["None"]), vec![our_node("a", &BOTH)], vec![]),
    ] {
        let ports = json!([{ "port": 80, "nodePort": 30_080 }]);
        let spec = json!({ "clusterIP": ips[0], "clusterIPs": ips, "ports": ports });
        let cluster = cluster(nodes.into_iter().chain([service(json!({ "spec": spec }))]));
        let ports = cluster.service(&web()).unwrap();
        let frontends = ports.values().flat_map(|port| &port.frontends);
        let found: Vec<_> = frontends
            .map(|it| mesh_common::addr::socket_addr(it.addr, it.port).to_string())
            .collect();
        assert_eq!(found, expected, "{why}");
    }
}

#[test]
fn our_node_touches_those_it_concerns() {
    let hinted = json!([{ "addresses": ["10.0.0.1"], "hints": { "forZones": [{ "name": "a" }] } }]);
    let port = json!([{ "port": 80 }]);
    let plain = json!([{ "addresses": ["10.0.0.1"] }]);
    let mut cluster = cluster([
        service(json!({})),
        at_nodes("ported", "10.96.0.2", 30_080),
        service(json!({ "metadata": { "name": "hinted" }, "spec": { "clusterIP": "10.96.0.3" } })),
        slice_of("hinted", "h", "IPv4", port.clone(), hinted),
        slice_of("web", "w", "IPv4", port, plain),
    ]);
    let one = || our_node("a", &BOTH[..1]);
    assert_eq!(names(&upsert(&mut cluster, [one()])), ["hinted", "ported"]);
    assert_eq!(names(&upsert(&mut cluster, [one()])), [""; 0]);
    assert_eq!(names(&upsert(&mut cluster, [our_node("a", &BOTH)])), ["ported"]);
    assert_eq!(names(&upsert(&mut cluster, [our_node("b", &BOTH)])), ["hinted"]);
    let gone = ObjectRef::Node("here".to_owned());
    assert_eq!(names(&cluster.apply(Event::Delete(gone))), ["hinted", "ported"]);
}

#[test]
fn addresses_of_the_host_are_the_hosts_on_all_ports() {
    let ports = json!([
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "metrics", "port": 9153 },
    ]);
    let dns = || {
        [
            service(json!({ "spec": { "ports": ports, "externalIPs": ["203.0.113.1"] } })),
            slice_of("web", "s", "IPv4", ports.clone(), json!([on("10.0.0.1", "here")])),
        ]
    };
    let mut cluster = cluster(dns());
    let free = [
        "10.96.0.1:53 ClusterIP: 10.0.0.1:53",
        "203.0.113.1:53 ExternalIP: 10.0.0.1:53",
        "10.96.0.1:9153 ClusterIP: 10.0.0.1:9153",
        "203.0.113.1:9153 ExternalIP: 10.0.0.1:9153",
    ];
    assert_eq!(dialled(&cluster), free);
    let cached = ["127.0.0.1", "169.254.20.10", "10.96.0.1"];
    assert_eq!(names(&host(&mut cluster, &cached)), ["web"]);
    assert_eq!(
        dialled(&cluster),
        [
            "10.96.0.1:53 ClusterIP: untouched: address of the host",
            free[1],
            "10.96.0.1:9153 ClusterIP: untouched: address of the host",
            free[3],
        ]
    );
    assert_eq!(host(&mut cluster, &cached), Dirty::default());
    let others = ["127.0.0.1", "10.96.0.1", "fd00::7"];
    assert_eq!(
        host(&mut cluster, &others),
        Dirty::default(),
        "nobody dials the others"
    );
    assert_eq!(names(&host(&mut cluster, &["10.96.0.1", "203.0.113.1"])), ["web"]);
    assert_eq!(cluster.service(&web()), Some(ServicePorts::new()));
    assert_eq!(names(&host(&mut cluster, &[])), ["web"]);
    assert_eq!(dialled(&cluster), free);
}

#[test]
fn node_ports_at_addresses_of_the_host_are_ours() {
    let mut cluster = cluster([our_node("a", &BOTH[..1]), at_nodes("web", "10.96.0.1", 30_080)]);
    let _ = host(&mut cluster, &["192.168.0.1"]);
    assert_eq!(
        dialled(&cluster),
        ["10.96.0.1:80 ClusterIP: ", "192.168.0.1:30080 NodePort: "]
    );
}

#[test]
fn filtered_and_proxied_balancers_are_left_alone_and_node_ports_are_not() {
    let mut with_status = json!({
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "ports": [{ "port": 80, "nodePort": 30_080 }],
        },
        "status": { "loadBalancer": { "ingress": [
            { "ip": "203.0.113.1" },
            { "ip": "203.0.113.2", "ipMode": "Proxy" },
        ] } },
    });
    let nodes = our_node("a", &BOTH[..1]);
    let filtered = cluster([nodes.clone(), service(with_status.clone())]);
    assert_eq!(
        dialled(&filtered),
        [
            "10.96.0.1:80 ClusterIP: ",
            "203.0.113.1:80 LoadBalancer: untouched: loadBalancerSourceRanges",
            "203.0.113.2:80 LoadBalancer: untouched: ipMode Proxy",
            "192.168.0.1:30080 NodePort: ",
        ]
    );
    merge(
        &mut with_status,
        json!({ "spec": { "loadBalancerSourceRanges": null } }),
    );
    let open = cluster([nodes, service(with_status)]);
    assert_eq!(dialled(&open)[1], "203.0.113.1:80 LoadBalancer: ");
}

#[test]
fn what_meshctl_says_changes_with_the_service() {
    let mut cluster = cluster([service(json!({}))]);
    for (why, event, expected) in [
        ("the same", Event::Upsert(service(json!({}))), false),
        (
            "a type",
            Event::Upsert(service(json!({ "spec": { "internalTrafficPolicy": "Local" } }))),
            true,
        ),
        (
            "a new one",
            Event::Upsert(service(json!({ "metadata": { "name": "new" } }))),
            true,
        ),
        ("a slice", Event::Upsert(slice("s", json!([]))), false),
        ("it goes", Event::Delete(ObjectRef::Service(web())), true),
        ("again", Event::Delete(ObjectRef::Service(web())), false),
    ] {
        assert_eq!(cluster.relabels(&event), expected, "{why}");
        let _ = cluster.apply(event);
    }
}

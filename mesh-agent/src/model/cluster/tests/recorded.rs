//! What a real API server sent (Kubernetes 1.28): a Deployment of two pods with a Service and a headless
//! one, scaled to three and one; then the Service goes, and the last pod is told to.

use super::*;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/kubernetes-1.28/",
            $name
        ))
    };
}

const LISTS: [(&str, &str); 5] = [
    ("Namespace", recorded!("list-namespaces.json")),
    ("Node", recorded!("list-nodes.json")),
    ("Pod", recorded!("list-pods.json")),
    ("Service", recorded!("list-services.json")),
    ("EndpointSlice", recorded!("list-endpointslices.json")),
];

const WATCHES: [&str; 4] = [
    recorded!("watch-namespaces.jsonl"),
    recorded!("watch-services.jsonl"),
    recorded!("watch-pods.jsonl"),
    recorded!("watch-endpointslices.jsonl"),
];

fn listed() -> Vec<Object> {
    let items = LISTS.into_iter().flat_map(|(kind, text)| {
        let list: Value = serde_json::from_str(text).unwrap();
        let items = list["items"].as_array().unwrap().clone();
        items.into_iter().map(move |mut item| {
            item["kind"] = json!(kind);
            object(item)
        })
    });
    items.collect()
}

/// Everything that was watched, in the order it happened.
fn watched() -> Vec<Event> {
    let lines = WATCHES.into_iter().flat_map(str::lines);
    let mut changes: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    changes.sort_by_key(|change| {
        let version = change["object"]["metadata"]["resourceVersion"].as_str().unwrap();
        version.parse::<u64>().unwrap()
    });
    let event = |change: Value| {
        let object = object(change["object"].clone());
        match change["type"].as_str().unwrap() {
            "DELETED" => Event::Delete(object.reference()),
            _ => Event::Upsert(object),
        }
    };
    changes.into_iter().map(event).collect()
}

fn seen_from(node: &str, objects: impl IntoIterator<Item = Object>) -> Cluster {
    let mut cluster = Cluster::for_manifests(node);
    let _ = upsert(&mut cluster, objects);
    cluster
}

fn endpoints_of(cluster: &Cluster, namespace: &str, name: &str) -> Vec<String> {
    let ports = cluster.service(&ObjectName::new(namespace, name)).unwrap();
    ports.values().flat_map(texts).collect()
}

#[test]
fn lists_become_services_and_workloads() {
    let cluster = seen_from("node1", listed());
    assert_eq!(problems(&cluster), [""; 0]);
    assert_eq!(
        endpoints_of(&cluster, "shop", "cart"),
        [
            "10.244.0.2:8080 cart-5d644cd876-rfz5h",
            "10.244.0.3:8080 cart-5d644cd876-t7jmr"
        ]
    );
    assert_eq!(
        endpoints_of(&cluster, "default", "kubernetes"),
        ["10.99.0.1:6443"]
    );
    assert_eq!(endpoints_of(&cluster, "shop", "cart-headless"), [""; 0]);

    let local: Vec<_> = cluster.local_enrolled().map(|pod| pod.key.to_string()).collect();
    assert_eq!(
        local,
        ["shop/cart-5d644cd876-rfz5h", "shop/cart-5d644cd876-t7jmr"]
    );
    for key in cluster.pods() {
        let workload = cluster.workload(key).unwrap();
        assert!(workload.local && workload.enrolled && workload.addresses.len() == 1);
    }
}

#[test]
fn pods_and_slices_agree_about_the_endpoints() {
    let with_slices = seen_from("node1", listed());
    let is_slice = |it: &Object| matches!(it, Object::EndpointSlice(_));
    let without = seen_from("node1", listed().into_iter().filter(|it| !is_slice(it)));
    let cart = ObjectName::new("shop", "cart");
    assert_eq!(with_slices.service(&cart), without.service(&cart));
}

#[test]
fn a_service_follows_its_pods_up_and_down() {
    let cart = ObjectName::new("shop", "cart");
    let mut cluster = seen_from("node1", []);
    let mut counts = Vec::new();
    for event in watched() {
        let _ = cluster.apply(event);
        assert_eq!(problems(&cluster), [""; 0]);
        let ports = cluster.service(&cart);
        counts.push(ports.map(|ports| ports.into_values().map(|it| it.endpoints.len()).sum::<usize>()));
    }
    counts.dedup();
    let some = [0, 1, 2, 3, 2, 1].map(Some);
    assert_eq!(counts, [&[None], &some[..], &[None]].concat());
    assert_eq!(
        cluster.local_enrolled().count(),
        3,
        "they are ending, but not gone"
    );
}

//! Ten thousand services with a hundred thousand endpoints; fewer where nothing is optimised.

use std::time::{Duration, Instant};

use super::*;

const SERVICES: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
const PODS_EACH: usize = 10;
const PODS: usize = SERVICES * PODS_EACH;

/// What a change may cost at most.
const LIMIT: Duration = Duration::from_millis(5);

fn ip(first: u8, number: usize) -> String {
    format!("{first}.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255)
}

fn big_service(number: usize) -> Object {
    let name = format!("s{number}");
    service(json!({
        "metadata": { "name": name },
        "spec": { "clusterIP": ip(11, number + 1), "selector": { "app": name, "team": "all" } },
    }))
}

/// A slice with an address that differs by `shift`.
fn big_slice(number: usize, shift: usize) -> Object {
    let pods = number * PODS_EACH..(number + 1) * PODS_EACH;
    let endpoint = |pod: usize| {
        let target = json!({ "kind": "Pod", "name": format!("p{pod}"), "uid": format!("uid-p{pod}") });
        let moved = if pod.is_multiple_of(PODS_EACH) { shift } else { 0 };
        json!({ "addresses": [ip(10, pod + moved + 1)], "targetRef": target })
    };
    let endpoints: Vec<_> = pods.map(endpoint).collect();
    let (service, name) = (format!("s{number}"), format!("e{number}"));
    slice_of(&service, &name, "IPv4", json!([{ "port": 80 }]), json!(endpoints))
}

fn big_pod(number: usize, shift: usize) -> Object {
    let labels = json!({ "app": format!("s{}", number / PODS_EACH), "team": "all" });
    let patch = json!({ "metadata": { "labels": labels } });
    pod(&format!("p{number}"), &ip(10, number + shift + 1), patch)
}

fn look_again(cluster: &Cluster, dirty: &Dirty) {
    for name in &dirty.services {
        std::hint::black_box(cluster.service(name));
    }
    for key in &dirty.pods {
        std::hint::black_box(cluster.workload(key));
    }
}

/// Fills a cluster, then changes one object to and fro; the best of a few rounds counts, since other tests
/// run beside.
fn measure(with_slices: bool, change: impl Fn(usize) -> Object) {
    let slices = (0..if with_slices { SERVICES } else { 0 }).map(|it| big_slice(it, 0));
    let pods = (0..PODS).map(|it| big_pod(it, 0));
    let objects: Vec<_> = (0..SERVICES).map(big_service).chain(slices).chain(pods).collect();

    let start = Instant::now();
    let mut cluster = Cluster::for_manifests("here");
    let dirty = upsert(&mut cluster, objects);
    let applied = start.elapsed();
    let start = Instant::now();
    look_again(&cluster, &dirty);
    let looked = start.elapsed();

    let rounds = (1..=10).map(|round| {
        let object = change(round % 2 * PODS);
        let start = Instant::now();
        let dirty = cluster.apply(Event::Upsert(object));
        look_again(&cluster, &dirty);
        assert_eq!(dirty.services.len(), 1);
        start.elapsed()
    });
    let best = rounds.min().unwrap();
    eprintln!("slices {with_slices}: all {applied:?}, computed {looked:?}, one change {best:?}");
    assert!(best < LIMIT, "{best:?}");
}

#[test]
fn a_change_of_one_endpoint_costs_what_it_touches() {
    measure(true, |shift| big_slice(77, shift));
}

#[test]
fn a_change_of_one_pod_costs_what_it_touches() {
    measure(false, |shift| big_pod(777, shift));
}

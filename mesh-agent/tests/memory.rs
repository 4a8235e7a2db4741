//! How much memory a cluster takes in the agent: all that is kept of it between the directory and the kernel's
//! tables. A program of its own, so that nothing else is on the heap, and for the GNU C library, which tells.
#![cfg(target_env = "gnu")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use mesh_agent::model::cluster::{Cluster, Dirty};
use mesh_agent::model::ledger::{Capacity, Ledger};
use mesh_agent::source::manifests::ManifestSource;
use mesh_agent::sys::heap;
use serde_json::{Value, json};

const SERVICES: usize = 1_000;
const ENDPOINTS: usize = 10 * SERVICES;
const SERVICES_PER_FILE: usize = 250;

/// Most bytes for an endpoint, a tenth of its Service and slice included. A hundred thousand of them must leave
/// room for the rest in the 150 MiB the agent may take.
const BYTES_PER_ENDPOINT: usize = 950;

/// A Service and its slice of ten endpoints, which are pods; versions differ in the first address.
fn documents(number: usize, version: usize) -> [Value; 2] {
    let (high, low) = (number >> 8, number & 255);
    let (name, namespace) = (format!("service-{number}"), format!("namespace-{}", number % 20));
    let endpoint = |at: usize| {
        let pod = number * 10 + at;
        let moved = if at == 1 { version } else { 0 };
        json!({
            "addresses": [format!("10.{}.{low}.{}", 100 + high, at + 20 * moved)],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": format!("node-{}", pod % 500),
            "zone": "zone-a",
            "targetRef": {
                "kind": "Pod",
                "namespace": namespace,
                "name": format!("{name}-7f9c6b5d4-{at:05}"),
                "uid": format!("8f0c5c1e-0000-4000-8000-{pod:012}"),
            },
        })
    };
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "clusterIP": format!("10.96.{high}.{low}"),
            "selector": { "app": name },
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }],
        },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-abcde"),
            "namespace": namespace,
            "labels": { "kubernetes.io/service-name": name },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": (1..=10).map(endpoint).collect::<Vec<_>>(),
    });
    [service, slice]
}

/// Writes all files; in each, one slice is of this version.
fn write(directory: &Path, version: usize) {
    for first in (0..SERVICES).step_by(SERVICES_PER_FILE) {
        let numbers = first..first + SERVICES_PER_FILE;
        let texts: Vec<String> = numbers
            .flat_map(|number| documents(number, if number == first { version } else { 0 }))
            .map(|document| document.to_string())
            .collect();
        fs::write(directory.join(format!("{first:05}.json")), texts.join("\n"))
            .expect("a directory that can be written");
    }
}

/// What the agent keeps of a cluster.
struct Agent {
    source: ManifestSource,
    cluster: Cluster,
    ledger: Ledger,
}

impl Agent {
    /// Reads what changed and plans it; how many objects that were.
    fn follow(&mut self) -> usize {
        let batch = self.source.scan();
        assert_eq!(batch.problems, []);
        let changed = batch.events.len();
        let mut dirty = Dirty::default();
        for event in batch.events {
            dirty.merge(self.cluster.apply(event));
        }
        for service in &dirty.services {
            let ports = self.cluster.service(service);
            let plan = self
                .ledger
                .plan_service(service, ports.as_ref(), Duration::from_mins(1));
            assert_eq!(plan.refusals, []);
        }
        changed
    }
}

#[test]
fn a_cluster_takes_little_memory_and_changes_take_none() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), 0);
    let before = heap::in_use();
    let mut agent = Agent {
        source: ManifestSource::open(directory.path()).expect("it is there"),
        cluster: Cluster::for_manifests("node-1"),
        ledger: Ledger::new(Capacity::default()),
    };
    assert_eq!(agent.follow(), 2 * SERVICES);
    let backends = agent
        .ledger
        .usage()
        .into_iter()
        .find(|(table, ..)| *table == "BACKENDS");
    assert_eq!(backends.map(|(_, used, _)| used), u32::try_from(ENDPOINTS).ok());

    let per_endpoint = |now: usize| now.saturating_sub(before) / ENDPOINTS;
    let loaded = per_endpoint(heap::in_use());
    println!("{loaded} bytes for an endpoint");
    assert!(loaded <= BYTES_PER_ENDPOINT, "{loaded} bytes for an endpoint");

    // Whatever did not change in the files goes on being shared.
    for version in 1..=3 {
        write(directory.path(), version);
        assert_eq!(agent.follow(), SERVICES / SERVICES_PER_FILE);
    }
    let changed = per_endpoint(heap::in_use());
    println!("{changed} bytes for an endpoint after changes");
    assert!(changed <= loaded + loaded / 20, "{loaded} bytes became {changed}");
}

//! What it takes to read the list of all pods of a large cluster: little more than what is kept of them. A program of
//! its own, so that nothing else is on the heap.

#![cfg(target_env = "gnu")]

use std::io::{self, Read};
use std::time::Instant;

use mesh_agent::source::kubernetes::{Known, Resource, read_list};
use mesh_agent::sys::heap;
use serde_json::json;

/// Enough to tell; what a pod takes does not depend on it.
const PODS: usize = 3_000;

/// The heap is looked at this often, in pods.
const LOOK: usize = 50;

/// Most that may be in memory at any time, for each pod.
const BYTES_PER_POD: usize = 2_500;

/// A pod as API servers send them, of about six kilobytes.
fn pod(number: usize) -> String {
    let name = format!("service-{}-7f9c6b5d4-{number:05}", number / 6);
    let fields: serde_json::Map<_, _> = (0..40)
        .map(|field| {
            (
                format!("f:field-{field}"),
                json!({ ".": {}, "f:value": {}, "f:valueFrom": { "f:fieldRef": {} } }),
            )
        })
        .collect();
    let environment: Vec<_> = (0..20)
        .map(|at| json!({ "name": format!("VARIABLE_{at}"), "value": format!("a value of some length, number {at}") }))
        .collect();
    json!({
        "metadata": {
            "name": name,
            "generateName": format!("service-{}-7f9c6b5d4-", number / 6),
            "namespace": format!("namespace-{}", number % 50),
            "uid": format!("8f0c5c1e-0000-4000-8000-{number:012}"),
            "resourceVersion": (1_000_000 + number).to_string(),
            "creationTimestamp": "2026-11-20T16:04:08Z",
            "labels": {
                "app.kubernetes.io/name": format!("service-{}", number / 6),
                "app.kubernetes.io/part-of": "shop",
                "pod-template-hash": "7f9c6b5d4",
                "version": "v1",
            },
            "annotations": { "checksum/config": "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("service-{}-7f9c6b5d4", number / 6),
                "uid": "96727e74-2637-4fb6-8dc4-d70a33982c3b", "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": [{
                "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-11-20T16:04:08Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
            }],
        },
        "spec": {
            "nodeName": format!("node-{}", number % 500),
            "serviceAccountName": "default",
            "containers": [{
                "name": "app",
                "image": "registry.example/shop/app:1.2.3",
                "env": environment,
                "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
                "resources": { "limits": { "cpu": "1", "memory": "512Mi" }, "requests": { "cpu": "100m", "memory": "128Mi" } },
            }],
        },
        "status": {
            "phase": "Running",
            "podIP": format!("10.{}.{}.{}", 1 + number / 65_536, number / 256 % 256, number % 256),
            "podIPs": [{ "ip": format!("10.{}.{}.{}", 1 + number / 65_536, number / 256 % 256, number % 256) }],
            "conditions": [
                { "type": "Initialized", "status": "True", "lastTransitionTime": "2026-11-20T16:04:08Z" },
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-20T16:04:10Z" },
            ],
        },
    })
    .to_string()
}

/// The list, made as it is read.
struct List {
    rest: io::Cursor<Vec<u8>>,
    next: usize,
    bytes: usize,
    highest: usize,
}

impl Read for List {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(into)?;
        if read > 0 || self.next > PODS {
            self.bytes += read;
            return Ok(read);
        }
        if self.next.is_multiple_of(LOOK) {
            self.highest = self.highest.max(heap::in_use());
        }
        let text = match self.next {
            PODS => "]}".to_owned(),
            0 => {
                r#"{"kind":"PodList","metadata":{"resourceVersion":"2000000"},"items":["#.to_owned() + &pod(0)
            }
            next => format!(",{}", pod(next)),
        };
        self.next += 1;
        self.rest = io::Cursor::new(text.into_bytes());
        self.read(into)
    }
}

/// Reads the list; returns what is known with it, how many events that makes, and the most that was in memory.
fn listed(known: Known) -> (Known, usize, usize) {
    let mut list = List {
        rest: io::Cursor::default(),
        next: 0,
        bytes: 0,
        highest: 0,
    };
    let started = Instant::now();
    let mut relist = known.relist();
    let from = io::BufReader::with_capacity(64 << 10, &mut list);
    read_list(from, |document| relist.take(Resource::Pods.item(document))).expect("a list");
    let (known, events) = relist.finish();
    let highest = list.highest.max(heap::in_use());
    println!(
        "{} bytes for a pod in JSON, {:?} to make and read all",
        list.bytes / PODS,
        started.elapsed()
    );
    (known, events.len(), highest)
}

#[test]
fn a_list_of_all_pods_takes_little_more_than_what_is_kept() {
    let before = heap::in_use();
    let per_pod = |now: usize| now.saturating_sub(before) / PODS;
    let (known, events, highest) = listed(Known::default());
    assert_eq!((known.len(), events), (PODS, PODS));
    println!(
        "{} bytes for a pod at most, {} then",
        per_pod(highest),
        per_pod(heap::in_use())
    );
    assert!(per_pod(highest) <= BYTES_PER_POD);

    // Once more: nothing changed, and what is known is not there twice.
    let (known, events, again) = listed(known);
    assert_eq!((known.len(), events), (PODS, 0));
    println!("{} bytes for a pod at most when listed again", per_pod(again));
    assert!(per_pod(again) <= BYTES_PER_POD);
    assert_eq!(known.problems().count(), 0);
}

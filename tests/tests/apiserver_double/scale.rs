//! As many objects and changes as a large cluster has.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::{Bench, Watch};

const SERVICES: usize = 5_000;
const ENDPOINTS: usize = 10;
const PODS: usize = 30_000;
const WATCHERS: usize = 4;
const CHANGES: usize = 1_000;

fn slice(number: usize, round: usize) -> Value {
    let endpoint = |index: usize| {
        json!({
            "addresses": [format!("10.{}.{}.{}", number / 250, number % 250, index)],
            "conditions": {"ready": (round + index).is_multiple_of(2), "serving": true, "terminating": false},
            "nodeName": format!("node-{index}"),
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("web-{number}-abcde"), "namespace": "n", "generation": round,
                     "labels": {"kubernetes.io/service-name": format!("web-{number}")}},
        "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
    })
}

fn service(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("web-{number}"), "namespace": "n"},
        "spec": {"clusterIP": format!("10.96.{}.{}", number / 250, number % 250), "ports": [{"port": 80}]},
    })
}

fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("web-{number}"), "namespace": "n", "labels": {"app": "web"}},
        "spec": {"nodeName": format!("node-{}", number % 100), "containers": [{"name": "web", "image": "web:1"}]},
        "status": {"phase": "Running", "podIP": format!("10.1.{}.{}", number / 250, number % 250)},
    })
}

async fn read(mut watch: Watch) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..CHANGES {
        watch.next().await?;
    }
    Ok(start.elapsed())
}

/// A second's changes reach all watchers, while lists of everything go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_cluster_is_held_listed_and_watched() -> Result<()> {
    let bench = Bench::new().await?;
    let start = Instant::now();
    bench.server.put_all((0..SERVICES).map(service))?;
    bench
        .server
        .put_all((0..SERVICES).map(|number| slice(number, 0)))?;
    bench.server.put_all((0..PODS).map(pod))?;
    println!("written in {:?}", start.elapsed());
    let version = bench.server.version();
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let path = format!("/apis/discovery.k8s.io/v1/endpointslices?watch=1&resourceVersion={version}");
        watchers.push(tokio::spawn(read(bench.watch(&path).await?)));
    }
    let start = Instant::now();
    for change in 0..CHANGES {
        bench.server.put(&slice(change * 7 % SERVICES, change + 1))?;
    }
    println!("{CHANGES} changes written in {:?}", start.elapsed());
    let list = bench.get("/api/v1/pods").await?.body;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(PODS));
    println!("{PODS} pods listed and parsed after {:?}", start.elapsed());
    for watcher in watchers {
        println!("{CHANGES} changes read in {:?}", watcher.await??);
    }
    let took = start.elapsed();
    assert!(took < harness::patient(Duration::from_secs(20)), "took {took:?}");
    let (mut pieces, mut token) = (0, String::new());
    loop {
        let path = format!("/api/v1/pods?limit=5000&continue={token}");
        let piece = bench.get(&path).await?.body;
        pieces += piece["items"].as_array().map_or(0, Vec::len);
        match piece["metadata"]["continue"].as_str() {
            Some(next) => token = next.into(),
            None => break,
        }
    }
    assert_eq!(pieces, PODS);
    Ok(())
}

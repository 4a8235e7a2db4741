//! Watches over HTTP.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::bench::Bench;

const CONFIGS: &str = "/api/v1/configmaps?watch=1";

#[tokio::test]
async fn a_watch_goes_on_where_a_list_ended() -> Result<()> {
    let bench = Bench::new().await?;
    bench.config("a", "1")?;
    let list = bench.get("/api/v1/configmaps").await?.body;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut after = bench
        .watch(&format!("{CONFIGS}&resourceVersion={version}"))
        .await?;
    let mut all = bench.watch(CONFIGS).await?;
    assert_eq!(all.told().await?, "ADDED a");
    bench.config("a", "2")?;
    bench.server.remove("configmaps", "n", "a")?;
    for watch in [&mut after, &mut all] {
        assert_eq!(watch.told().await?, "MODIFIED a");
        assert_eq!(watch.told().await?, "DELETED a");
    }
    Ok(())
}

#[tokio::test]
async fn bookmarks_come_by_the_clock_and_before_the_end() -> Result<()> {
    let bench = Bench::with(|builder| builder.bookmarks(Duration::from_millis(100))).await?;
    let mut watch = bench
        .watch(&format!("{CONFIGS}&allowWatchBookmarks=true&timeoutSeconds=1"))
        .await?;
    let version = bench.config("a", "1")?;
    while watch.told().await? != "ADDED a" {}
    let mark = watch.next().await?;
    assert_eq!(
        mark,
        json!({"type": "BOOKMARK", "object": {"kind": "ConfigMap", "apiVersion": "v1",
               "metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null}}})
    );
    // Another resource moves on: so does the bookmark, and a watch from there misses nothing.
    let later = bench
        .server
        .put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "m"}}))?;
    let version = later.to_string();
    while watch.next().await?["object"]["metadata"]["resourceVersion"] != version.as_str() {}
    let start = Instant::now();
    while watch.line().await?.is_some() {}
    assert!(
        start.elapsed() < harness::patient(Duration::from_secs(2)),
        "it ends by itself"
    );
    // Without leave there are none.
    let mut quiet = bench.watch(&format!("{CONFIGS}&resourceVersion={later}")).await?;
    assert!(quiet.silent().await);
    // Two seconds before the end, whatever the interval.
    bench.server.set_bookmarks(Duration::from_mins(10));
    let start = Instant::now();
    let path = format!("{CONFIGS}&resourceVersion={later}&allowWatchBookmarks=true&timeoutSeconds=3");
    let mut watch = bench.watch(&path).await?;
    assert_eq!(watch.next().await?["type"], "BOOKMARK");
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_selector_is_entered_and_left() -> Result<()> {
    let bench = Bench::new().await?;
    let pod = |app: &str, node: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n", "labels": {"app": app}},
               "spec": {"nodeName": node}})
    };
    let mut here = bench
        .watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dhere")
        .await?;
    let mut shop = bench
        .watch("/api/v1/namespaces/n/pods?watch=1&labelSelector=app%3Dshop")
        .await?;
    for (app, node) in [("x", ""), ("shop", "here"), ("shop", "there"), ("x", "there")] {
        bench.server.put(&pod(app, node))?;
    }
    assert_eq!(
        (here.told().await?, here.told().await?),
        ("ADDED a".into(), "DELETED a".into())
    );
    assert_eq!(shop.told().await?, "ADDED a");
    assert_eq!(shop.told().await?, "MODIFIED a");
    let left = shop.next().await?;
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["app"], "shop");
    assert_eq!(
        left["object"]["metadata"]["resourceVersion"],
        bench.server.version().to_string()
    );
    Ok(())
}

#[tokio::test]
async fn versions_that_are_no_longer_kept_are_gone() -> Result<()> {
    let bench = Bench::with(|builder| builder.window(3)).await?;
    let start = bench.server.version();
    let watch = format!("{CONFIGS}&resourceVersion={start}");
    for round in 0..3 {
        bench.config("a", &round.to_string())?;
    }
    bench.watch(&watch).await?;
    bench.config("a", "4")?;
    // Told in the stream, like the real server: its answer is 200.
    let mut gone = bench.watch(&watch).await?;
    let oldest = start + 1;
    let event = gone.next().await?;
    assert_eq!(
        (
            &event["type"],
            &event["object"]["code"],
            &event["object"]["message"]
        ),
        (
            &"ERROR".into(),
            &410.into(),
            &format!("too old resource version: {start} ({oldest})").into()
        )
    );
    assert_eq!(gone.line().await?, None);
    assert_eq!(
        bench.server.requests().last().map(|request| request.status),
        Some(410)
    );
    Ok(())
}

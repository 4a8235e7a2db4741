//! Everything that can go wrong, as a client sees it.

use std::time::{Duration, Instant};

use anyhow::Result;
use harness::apiserver::{Gone, Match};
use serde_json::json;

use crate::bench::Bench;

const CONFIGS: &str = "/api/v1/configmaps";
const WATCH: &str = "/api/v1/configmaps?watch=1";

#[tokio::test]
async fn a_server_goes_down_and_comes_back() -> Result<()> {
    let bench = Bench::new().await?;
    let mut watch = bench.watch(WATCH).await?;
    bench.server.down()?;
    assert!(watch.line().await.is_err(), "broken off");
    let refused = std::net::TcpStream::connect(bench.server.address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(bench.get(CONFIGS).await.is_err());
    bench.server.up()?;
    assert_eq!(bench.get(CONFIGS).await?.code, 200);
    let mut watch = bench.watch(WATCH).await?;
    bench.server.cut();
    assert!(watch.line().await.is_err(), "broken off");
    assert_eq!(bench.get(CONFIGS).await?.code, 200);
    Ok(())
}

#[tokio::test]
async fn a_watch_breaks_off_in_the_middle_of_an_event() -> Result<()> {
    let bench = Bench::new().await?;
    let mut watch = bench.watch(WATCH).await?;
    bench.config("a", "1")?;
    assert_eq!(watch.told().await?, "ADDED a");
    bench.server.tear_watches();
    bench.config("a", "2")?;
    assert!(watch.line().await.is_err(), "half a line is none");
    assert_eq!(bench.watch(WATCH).await?.told().await?, "ADDED a");
    Ok(())
}

#[tokio::test]
async fn every_watch_is_told_that_its_version_is_too_old() -> Result<()> {
    let bench = Bench::new().await?;
    let mut open = bench.watch(WATCH).await?;
    bench.server.expire_watches(Gone::Status);
    let gone = bench.get(WATCH).await?;
    assert_eq!((gone.code, &gone.body["reason"]), (410, &"Expired".into()));
    assert!(open.silent().await, "an open one does not hear of a status");
    bench.server.expire_watches(Gone::Event);
    for watch in [&mut open, &mut bench.watch(WATCH).await?] {
        let event = watch.next().await?;
        assert_eq!(
            (&event["type"], &event["object"]["code"]),
            (&"ERROR".into(), &410.into())
        );
        assert_eq!(watch.line().await?, None, "and it ends");
    }
    bench.server.well();
    assert!(bench.watch(WATCH).await?.silent().await);
    Ok(())
}

#[tokio::test]
async fn requests_are_refused_and_delayed() -> Result<()> {
    let bench = Bench::new().await?;
    bench
        .server
        .refuse(Match::of("list", "configmaps"), 429, Some(2), Some(1));
    bench
        .server
        .refuse(Match::of("list", "configmaps"), 500, None, Some(1));
    bench.server.refuse(Match::verb("list"), 503, None, Some(1));
    let mut codes = Vec::new();
    for _ in 0..4 {
        let answer = bench.get(CONFIGS).await?;
        codes.push(answer.code);
        let after = answer
            .headers
            .get("retry-after")
            .map(|value| value.to_str().unwrap_or_default());
        assert_eq!(after, (answer.code == 429).then_some("2"));
        if answer.code != 200 {
            assert_eq!(answer.body["code"], answer.code);
        }
    }
    assert_eq!(codes, [429, 500, 503, 200]);
    let statuses: Vec<_> = bench
        .server
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(statuses, [429, 500, 503, 200]);
    bench.server.delay(Match::any(), Duration::from_millis(300));
    let start = Instant::now();
    assert_eq!(bench.get(CONFIGS).await?.code, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
    Ok(())
}

#[tokio::test]
async fn events_come_twice_and_resources_out_of_order() -> Result<()> {
    let bench = Bench::new().await?;
    let mut configs = bench.watch(WATCH).await?;
    let mut namespaces = bench.watch("/api/v1/namespaces?watch=1&labelSelector=x").await?;
    bench.server.hold_events("configmaps");
    bench.server.duplicate_events();
    bench.config("a", "1")?;
    bench.server.put(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "m", "labels": {"x": ""}}}),
    )?;
    assert_eq!(
        (namespaces.told().await?, namespaces.told().await?),
        ("ADDED m".into(), "ADDED m".into())
    );
    assert!(configs.silent().await, "what was written first is told last");
    bench.server.release_events("configmaps");
    assert_eq!(
        (configs.told().await?, configs.told().await?),
        ("ADDED a".into(), "ADDED a".into())
    );
    Ok(())
}

#[tokio::test]
async fn a_cache_is_behind() -> Result<()> {
    let bench = Bench::new().await?;
    let old = bench.config("a", "1")?;
    bench.config("b", "1")?;
    bench.server.serve_stale(old);
    let any = bench.get(&format!("{CONFIGS}?resourceVersion=0")).await?.body;
    assert_eq!(any["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(any["metadata"]["resourceVersion"], old.to_string());
    assert_eq!(
        bench.get(CONFIGS).await?.body["items"].as_array().map(Vec::len),
        Some(2)
    );
    let mut watch = bench.watch(&format!("{WATCH}&resourceVersion={old}")).await?;
    assert_eq!(watch.told().await?, "ADDED b", "the watch makes up for it");
    Ok(())
}

#[tokio::test]
async fn a_replica_lags_behind() -> Result<()> {
    let bench = Bench::new().await?;
    let old = bench.config("a", "1")?;
    let new = bench.config("b", "1")?;
    bench.server.lag_behind(old);
    let any = bench.get(&format!("{CONFIGS}?resourceVersion=0")).await?.body;
    assert_eq!(any["metadata"]["resourceVersion"], old.to_string());
    let not_older = format!("{CONFIGS}?resourceVersionMatch=NotOlderThan&resourceVersion={new}");
    assert_eq!(bench.get(&not_older).await?.code, 504);
    let latest = bench.get(CONFIGS).await?.body;
    assert_eq!(latest["items"].as_array().map(Vec::len), Some(2));
    let mut watch = bench.watch(&format!("{WATCH}&resourceVersion={old}")).await?;
    assert!(watch.silent().await);
    bench.server.well();
    assert_eq!(watch.told().await?, "ADDED b", "until it has caught up");
    assert_eq!(bench.get(&not_older).await?.code, 200);
    Ok(())
}

#[tokio::test]
async fn a_restored_backup_starts_at_lower_versions() -> Result<()> {
    let bench = Bench::new().await?;
    let backup = bench.config("a", "1")?;
    let mut watch = bench.watch(&format!("{WATCH}&resourceVersion={backup}")).await?;
    bench.config("a", "2")?;
    let lost = bench.config("b", "1")?;
    watch.told().await?;
    watch.told().await?;
    bench.server.restore(backup)?;
    assert!(watch.line().await.is_err(), "broken off");
    let now = bench.get(CONFIGS).await?.body;
    assert_eq!(now["metadata"]["resourceVersion"], backup.to_string());
    assert_eq!(now["items"][0]["data"]["round"], "1");
    assert_eq!(now["items"].as_array().map(Vec::len), Some(1));
    let newer = bench.get(&format!("{CONFIGS}?resourceVersion={lost}")).await?;
    assert_eq!((newer.code, &newer.body["reason"]), (504, &"Timeout".into()));
    let cause = &newer.body["details"]["causes"][0];
    assert_eq!(cause["reason"], "ResourceVersionTooLarge");
    // Who goes on from the lost version hears of nothing until versions have passed it: the trap of a restore.
    let mut lost = bench.watch(&format!("{WATCH}&resourceVersion={lost}")).await?;
    bench.config("c", "1")?;
    assert!(lost.silent().await);
    Ok(())
}

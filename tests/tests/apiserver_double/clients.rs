//! The crate kube, which knows only real servers.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{Stream, StreamExt as _};
use harness::apiserver::Gone;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;

use crate::bench::Bench;

/// The next event that is not about a restart, as `+name`, `-name`, `=name` in a list, each with its round.
async fn told(
    events: &mut (impl Stream<Item = watcher::Result<Event<ConfigMap>>> + Unpin),
) -> Result<String> {
    let name = |object: ConfigMap| {
        let round = object
            .data
            .unwrap_or_default()
            .remove("round")
            .unwrap_or_default();
        format!("{}{round}", object.metadata.name.unwrap_or_default())
    };
    let next = async {
        loop {
            match events.next().await.context("the watcher ended")? {
                Ok(Event::Apply(object)) => return Ok(format!("+{}", name(object))),
                Ok(Event::Delete(object)) => return Ok(format!("-{}", name(object))),
                Ok(Event::InitApply(object)) => return Ok(format!("={}", name(object))),
                Ok(Event::Init | Event::InitDone) => {}
                // Refused for a moment: asked again, but not at once.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(harness::patient(Duration::from_secs(10)), next)
        .await
        .context("no event came")?
}

#[tokio::test]
async fn the_watcher_survives_cuts_and_lists_again_only_when_it_must() -> Result<()> {
    let bench = Bench::new().await?;
    let configs: Api<ConfigMap> = Api::all(bench.client.clone());
    let mut events = pin!(watcher(configs, watcher::Config::default()));
    bench.config("a", "1")?;
    assert_eq!(told(&mut events).await?, "=a1");
    bench.config("a", "2")?;
    assert_eq!(told(&mut events).await?, "+a2");
    let lists = || bench.server.count("list", "configmaps");
    assert_eq!(lists(), 1);

    bench.server.cut();
    bench.config("a", "3")?;
    assert_eq!(told(&mut events).await?, "+a3");
    bench.server.tear_watches();
    bench.config("a", "4")?;
    assert_eq!(told(&mut events).await?, "+a4");
    assert_eq!(lists(), 1, "a watch goes on where it broke off");

    // Gone while it was away.
    bench.server.down()?;
    bench.config("b", "1")?;
    bench.server.remove("configmaps", "n", "a")?;
    bench.server.compact();
    bench.server.up()?;
    assert_eq!(told(&mut events).await?, "=b1");
    assert_eq!(lists(), 2, "one list for the 410");

    // Told so for a while in each watch: it lists again each time, and goes on when that is over.
    bench.server.expire_watches(Gone::Event);
    assert_eq!(told(&mut events).await?, "=b1");
    bench.server.well();
    bench.config("b", "2")?;
    while !["=b2", "+b2"].contains(&told(&mut events).await?.as_str()) {}
    assert!(lists() >= 3, "{} lists", lists());
    Ok(())
}

#[tokio::test]
async fn typed_objects_are_read_and_applied() -> Result<()> {
    let bench = Bench::new().await?;
    let services: Api<Service> = Api::namespaced(bench.client.clone(), "n");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let params = PatchParams::apply("mesh");
    let applied = services.patch("web", &params, &Patch::Apply(&service)).await?;
    let spec = applied.spec.context("a spec")?;
    assert!(
        spec.cluster_ip
            .is_some_and(|address| address.starts_with("10.96."))
    );
    assert_eq!(
        applied.metadata.managed_fields.map(|fields| fields.len()),
        Some(1)
    );
    let other = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                       "spec": {"selector": {"app": "other"}}});
    let refused = services
        .patch("web", &PatchParams::apply("other"), &Patch::Apply(&other))
        .await;
    let Err(kube::Error::Api(status)) = refused else {
        panic!("a conflict: {refused:?}")
    };
    assert!(
        status.is_conflict() && status.message.contains(".spec.selector"),
        "{}",
        status.message
    );
    let forced = PatchParams::apply("other").force();
    services.patch("web", &forced, &Patch::Apply(&other)).await?;
    Ok(())
}

#[tokio::test]
async fn a_lease_is_held_by_one() -> Result<()> {
    let bench = Bench::new().await?;
    let leases: Api<Lease> = Api::namespaced(bench.client.clone(), "n");
    let lease = |holder: &str| Lease {
        metadata: ObjectMeta {
            name: Some("leader".into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }),
    };
    let params = PostParams::default();
    let mut held = leases.create(&params, &lease("one")).await?;
    let second = leases.create(&params, &lease("two")).await;
    assert!(matches!(second, Err(kube::Error::Api(status)) if status.is_already_exists()));
    let old = held.clone();
    held.spec = lease("three").spec;
    leases.replace("leader", &params, &held).await?;
    let late = leases.replace("leader", &params, &old).await;
    assert!(matches!(late, Err(kube::Error::Api(status)) if status.is_conflict()));
    Ok(())
}

/// A bookmark is parsed as an object of the type: it has the fields that Go always writes.
#[tokio::test]
async fn bookmarks_are_read_as_objects() -> Result<()> {
    async fn check<K>(bench: &Bench) -> Result<()>
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<K> = Api::all(bench.client.clone());
        let version = bench.server.version().to_string();
        let stream = api.watch(&WatchParams::default(), &version).await?;
        let next =
            tokio::time::timeout(harness::patient(Duration::from_secs(5)), pin!(stream).next()).await?;
        let event = next.context("an end")??;
        assert!(
            matches!(event, kube::api::WatchEvent::Bookmark(_)),
            "{}: {event:?}",
            K::kind(&())
        );
        Ok(())
    }
    let bench = Bench::with(|builder| builder.bookmarks(Duration::from_millis(50))).await?;
    check::<Pod>(&bench).await?;
    check::<Node>(&bench).await?;
    check::<Service>(&bench).await?;
    check::<EndpointSlice>(&bench).await?;
    check::<NetworkPolicy>(&bench).await?;
    check::<Lease>(&bench).await?;
    let first = Api::<Pod>::all(bench.client.clone())
        .list(&ListParams::default().limit(1))
        .await?;
    assert!(first.items.is_empty());
    Ok(())
}

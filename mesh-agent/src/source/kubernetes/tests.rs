//! The whole source against a server that answers what a test says.

mod recorded;
mod server;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use self::server::{Answer, Server};
use super::*;
use crate::model::cluster::Event;
use crate::source::{Batch, News};

const SOON: Duration = Duration::from_secs(10);

/// Follows a server.
async fn follow(server: &Server) -> KubernetesWatch {
    let options = Options {
        access: Access {
            kubeconfig: Some(server.kubeconfig()),
            context: None,
        },
        node: "node-1".to_owned(),
        start_within: Duration::ZERO,
        after: Seen::default(),
    };
    KubernetesWatch::start(options, SourceMetrics::default())
        .await
        .expect("a kubeconfig that can be read")
}

async fn batch(watch: &mut KubernetesWatch) -> Batch {
    let next = async {
        loop {
            match watch.next().await.expect("the source goes on") {
                News::Batch(batch) => break batch,
                News::State => {}
            }
        }
    };
    timeout(SOON, next).await.expect("a batch in time")
}

/// What changes next; that nothing did up to some version is passed over.
async fn changes(watch: &mut KubernetesWatch) -> Vec<String> {
    loop {
        let words = words(&batch(watch).await);
        if !words.is_empty() {
            return words;
        }
    }
}

/// Waits until the source says this of itself.
async fn state(watch: &mut KubernetesWatch, says: impl Fn(Option<&str>) -> bool) -> Option<String> {
    let next = async {
        while !says(watch.state().trouble.as_deref()) {
            watch.next().await.expect("the source goes on");
        }
        watch.state().trouble
    };
    timeout(SOON, next).await.expect("a state in time")
}

fn words(batch: &Batch) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Upsert(object) => format!("+{}", object.reference()),
        Event::Delete(reference) => format!("-{reference}"),
    };
    batch.events.iter().map(word).collect()
}

fn problems(batch: &Batch) -> Vec<String> {
    batch.problems.iter().map(ToString::to_string).collect()
}

fn pod(name: &str, version: u64) -> Value {
    json!({ "metadata": { "name": name, "namespace": "shop", "uid": name, "resourceVersion": version.to_string() } })
}

fn node(name: &str) -> Value {
    json!({ "metadata": { "name": name, "uid": name, "resourceVersion": "1" } })
}

fn event(what: &str, object: &Value) -> String {
    json!({ "type": what, "object": object }).to_string() + "\n"
}

fn bookmark(version: u64) -> String {
    event(
        "BOOKMARK",
        &json!({ "metadata": { "resourceVersion": version.to_string() } }),
    )
}

fn expired() -> Value {
    json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version" })
}

/// A server with a node and a pod, all at version 10.
async fn server() -> Server {
    let server = Server::start().await;
    for resource in Resource::ALL {
        let items = match resource {
            Resource::Nodes => vec![node("node-1")],
            Resource::Pods => vec![pod("web", 5)],
            _ => vec![],
        };
        server.list(resource, Answer::list(10, &items));
    }
    server
}

#[tokio::test]
async fn everything_is_listed_once_and_then_watched() {
    let server = server().await;
    let mut watch = follow(&server).await;
    let first = batch(&mut watch).await;
    assert_eq!(problems(&first), [""; 0]);
    assert_eq!(watch.state().trouble, None);
    server.watch(
        Resource::Pods,
        Answer::events(&[
            &event("ADDED", &pod("new", 11)),
            &event("DELETED", &pod("web", 12)),
        ]),
    );
    server.end_watches();
    let mut seen = words(&first);
    while seen.len() < 4 {
        seen.extend(words(&batch(&mut watch).await));
    }
    assert_eq!(
        seen,
        ["+Node node-1", "+Pod shop/web", "+Pod shop/new", "-Pod shop/web"]
    );

    for resource in Resource::ALL {
        let lists = server.asked(resource, "list");
        assert_eq!(lists.len(), 1, "{lists:?}");
        assert!(lists[0].contains("resourceVersion=0"), "{lists:?}");
        let watches = server.wait(resource, "watch", 1).await;
        assert!(watches[0].contains("resourceVersion=10&"), "{watches:?}");
        assert!(watches[0].contains("allowWatchBookmarks=true"), "{watches:?}");
        let seconds = watches[0]
            .split_once("timeoutSeconds=")
            .unwrap()
            .1
            .parse::<u64>()
            .unwrap();
        assert!((300..=600).contains(&seconds), "{watches:?}");
    }
    assert!(server.asked(Resource::Nodes, "list")[0].contains("fieldSelector=metadata.name%3Dnode-1&"));
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_from_the_last_version_without_a_list() {
    let server = server().await;
    server.watch(Resource::Pods, Answer::ended(&[&event("ADDED", &pod("a", 11))]));
    server.watch(Resource::Pods, Answer::ended(&[&bookmark(20)]));
    // Cut in the middle of an event, which then comes again.
    let whole = event("ADDED", &pod("b", 21));
    server.watch(Resource::Pods, Answer::cut(&[&whole[..whole.len() / 2]]));
    server.watch(Resource::Pods, Answer::events(&[&whole]));
    let mut watch = follow(&server).await;
    let mut seen = Vec::new();
    while !seen.contains(&"+Pod shop/b".to_owned()) {
        seen.extend(words(&batch(&mut watch).await));
    }
    // Of what came before all was listed, any may come first.
    seen[..3].sort();
    assert_eq!(
        seen,
        ["+Node node-1", "+Pod shop/a", "+Pod shop/web", "+Pod shop/b"]
    );
    let watches = server.wait(Resource::Pods, "watch", 4).await;
    let versions: Vec<_> = watches
        .iter()
        .map(|it| {
            it.split_once("resourceVersion=")
                .unwrap()
                .1
                .split('&')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(versions, ["10", "11", "20", "20"]);
    assert_eq!(server.asked(Resource::Pods, "list").len(), 1);
}

#[tokio::test]
async fn a_lost_version_costs_one_list_whose_differences_are_told() {
    for lost in [
        Answer::refused(&expired()),
        Answer::ended(&[&event("ERROR", &expired())]),
    ] {
        let server = server().await;
        server.list(Resource::Pods, Answer::list(30, &[pod("a", 11), pod("c", 29)]));
        let mut watch = follow(&server).await;
        let mut seen = words(&batch(&mut watch).await);
        server.watch(
            Resource::Pods,
            Answer::ended(&[&event("ADDED", &pod("a", 11)), &event("ADDED", &pod("b", 12))]),
        );
        server.watch(Resource::Pods, lost);
        server.end_watches();
        while !seen.contains(&"+Pod shop/c".to_owned()) {
            seen.extend(words(&batch(&mut watch).await));
        }
        assert_eq!(
            seen[4..],
            ["-Pod shop/b", "-Pod shop/web", "+Pod shop/c"],
            "{seen:?}"
        );
        let lists = server.asked(Resource::Pods, "list");
        assert_eq!(lists.len(), 2);
        assert!(
            lists[1].ends_with("resourceVersion=12"),
            "not older than what was seen: {lists:?}"
        );
        let goes_on = async {
            let watches = || server.asked(Resource::Pods, "watch");
            while !watches()
                .last()
                .is_some_and(|it| it.contains("resourceVersion=30&"))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, goes_on)
            .await
            .expect("a watch from the version of the list");
        assert_eq!(watch.state().trouble, None, "nothing is wrong");
    }
}

#[tokio::test]
async fn a_server_that_was_set_back_without_a_word_is_believed() {
    for older in [bookmark(15), event("ADDED", &pod("new", 15))] {
        let server = server().await;
        server.list(
            Resource::Pods,
            Answer::refused(
                &json!({ "kind": "Status", "code": 504, "message": "Too large resource version: 20" }),
            ),
        );
        server.list(Resource::Pods, Answer::list(15, &[pod("new", 15)]));
        let mut watch = follow(&server).await;
        batch(&mut watch).await;
        server.watch(Resource::Pods, Answer::ended(&[&bookmark(20)]));
        server.watch(Resource::Pods, Answer::ended(&[&older]));
        server.end_watches();
        assert_eq!(changes(&mut watch).await, ["-Pod shop/web", "+Pod shop/new"]);
        let lists = server.asked(Resource::Pods, "list");
        assert!(lists[1].ends_with("resourceVersion=20"), "{lists:?}");
        assert!(!lists[2].contains("resourceVersion"), "{lists:?}");
    }
}

#[tokio::test]
async fn a_server_that_lags_behind_is_asked_for_the_latest() {
    let server = server().await;
    server.list(Resource::Pods, Answer::refused(&json!({
        "kind": "Status", "code": 504, "reason": "Timeout", "message": "Too large resource version: 10, current: 9",
        "details": { "causes": [{ "reason": "ResourceVersionTooLarge" }], "retryAfterSeconds": 1 },
    })));
    server.list(Resource::Pods, Answer::list(9, &[]));
    let mut watch = follow(&server).await;
    batch(&mut watch).await;
    server.watch(Resource::Pods, Answer::refused(&expired()));
    server.end_watches();
    assert_eq!(words(&batch(&mut watch).await), ["-Pod shop/web"]);
    let lists = server.asked(Resource::Pods, "list");
    assert_eq!(lists.len(), 3, "{lists:?}");
    assert!(!lists[2].contains("resourceVersion"), "{lists:?}");
}

#[tokio::test]
async fn until_all_lists_came_there_is_no_batch_and_it_is_said_why() {
    let server = server().await;
    for _ in 0..2 {
        server.list_first(
            Resource::Services,
            Answer::refused(&json!({ "kind": "Status", "code": 403, "message": "no" })),
        );
    }
    let mut watch = follow(&server).await;
    let why = state(&mut watch, |why| why.is_some_and(|why| why.contains("403")))
        .await
        .unwrap();
    assert!(
        why.contains("the API server has not answered yet: 403 Forbidden: may not list services"),
        "{why}"
    );
    assert!(why.contains("ClusterRole"), "{why}");
    let first = batch(&mut watch).await;
    assert_eq!(words(&first).len(), 2);
    assert_eq!(watch.state().trouble, None);
}

#[tokio::test]
async fn a_list_that_breaks_off_is_asked_for_again_and_not_believed() {
    let server = server().await;
    server.list_first(
        Resource::Pods,
        Answer::cut(&[r#"{"metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"ghost","#]),
    );
    let mut watch = follow(&server).await;
    assert_eq!(words(&batch(&mut watch).await), ["+Node node-1", "+Pod shop/web"]);
    assert_eq!(server.asked(Resource::Pods, "list").len(), 2);
}

#[tokio::test]
async fn a_server_that_goes_is_told_of_and_asked_again_until_it_is_back() {
    let server = server().await;
    let mut watch = follow(&server).await;
    batch(&mut watch).await;
    server.wait(Resource::Pods, "watch", 1).await;
    server.stop().await;
    let why = state(&mut watch, |why| why.is_some()).await.unwrap();
    assert!(
        why.starts_with("the API server does not answer since 20"),
        "{why}"
    );
    assert!(why.contains("Connection refused"), "{why}");
    server.watch(
        Resource::Pods,
        Answer::events(&[&event("ADDED", &pod("late", 50))]),
    );
    server.restart().await;
    assert_eq!(words(&batch(&mut watch).await), ["+Pod shop/late"]);
    assert_eq!(state(&mut watch, |why| why.is_none()).await, None);
    for resource in Resource::ALL {
        assert_eq!(server.asked(resource, "list").len(), 1, "{resource:?}");
    }
}

#[tokio::test]
async fn credentials_are_read_again_when_the_server_no_longer_takes_them() {
    let server = server().await;
    server.demand("first");
    let mut watch = follow(&server).await;
    let why = state(&mut watch, |why| why.is_some_and(|why| why.contains("401")))
        .await
        .unwrap();
    assert!(why.contains("check the user of kubeconfig"), "{why}");
    server.write_token("first");
    assert_eq!(words(&batch(&mut watch).await).len(), 2);
    // The next one: what is open stays open, and the next request has it.
    server.write_token("second");
    server.demand("second");
    server.end_watches();
    server.watch(
        Resource::Pods,
        Answer::events(&[&event("ADDED", &pod("late", 50))]),
    );
    assert_eq!(words(&batch(&mut watch).await), ["+Pod shop/late"]);
    for resource in Resource::ALL {
        assert!(server.asked(resource, "list").len() > 1, "the first were refused");
    }
}

#[tokio::test]
async fn what_can_not_be_used_is_named_and_the_rest_applies() {
    let server = server().await;
    let wrong = |version: u64| {
        let mut wrong = pod("web", version);
        wrong["status"] = json!({ "podIP": "nowhere" });
        wrong
    };
    server.watch(
        Resource::Pods,
        Answer::events(&[&event("MODIFIED", &wrong(11)), &event("ADDED", &pod("ok", 12))]),
    );
    let mut watch = follow(&server).await;
    batch(&mut watch).await;
    let mut last = batch(&mut watch).await;
    if last.events.is_empty() {
        last = batch(&mut watch).await;
    }
    assert_eq!(words(&last), ["+Pod shop/ok"]);
    assert_eq!(
        problems(&last),
        ["Pod shop/web: status.podIP: \"nowhere\" is not an IP address (what the object said before stays)"]
    );
}

#[tokio::test]
async fn a_node_that_the_cluster_does_not_have_is_told_of() {
    let server = server().await;
    server.list_first(Resource::Nodes, Answer::list(10, &[]));
    let mut watch = follow(&server).await;
    let first = problems(&batch(&mut watch).await);
    assert!(
        first[0].starts_with("Node node-1: the cluster has no such node"),
        "{first:?}"
    );
    // The watch that may be open ends, and the next one brings it.
    server.watch(
        Resource::Nodes,
        Answer::events(&[&event("ADDED", &node("node-1"))]),
    );
    server.end_watches();
    assert_eq!(problems(&batch(&mut watch).await), [""; 0], "it joined");
}

#[tokio::test]
async fn without_a_way_both_ways_are_named() {
    let why = |access: Access| async move { access.open().await.err().expect("no way").to_string() };
    let nothing = why(Access::default()).await;
    assert!(
        nothing.contains("--kubeconfig FILE") && nothing.contains("service account"),
        "{nothing}"
    );
    let missing = why(Access {
        kubeconfig: Some("/nowhere/config".into()),
        context: None,
    })
    .await;
    assert!(missing.starts_with("kubeconfig /nowhere/config: "), "{missing}");
    let context = why(Access {
        kubeconfig: None,
        context: Some("prod".into()),
    })
    .await;
    assert!(context.contains("--context prod"), "{context}");
}

use serde_json::Value;

use super::super::resource::named;
use super::super::scene::{pod, query, store};
use super::*;

fn start(store: &Store, text: &str) -> Answer<(Watcher, String)> {
    let pods = named("pods").expect("known");
    let query = query(text);
    let selector = Selector::parse(pods, Some("n"), &query.label_selector, &query.field_selector)?;
    let (watcher, events) = Watcher::start(store, pods, selector, &query, store.version())?;
    Ok((watcher, told(&events)))
}

/// Events as `+a ~a -a`.
fn told(events: &[Event]) -> String {
    let sign = |kind| match kind {
        Kind::Added => '+',
        Kind::Modified => '~',
        Kind::Deleted => '-',
    };
    let texts: Vec<_> = events
        .iter()
        .map(|event| format!("{}{}", sign(event.kind), event.object.name))
        .collect();
    texts.join(" ")
}

fn pull(watcher: &mut Watcher, store: &Store) -> String {
    told(&watcher.pull(store).expect("kept").0)
}

#[test]
fn without_a_version_everything_is_added_first() {
    let pods = named("pods").expect("known");
    let mut store = store();
    store.put(pods, pod("a", "x"));
    for text in ["watch=1", "watch=1&resourceVersion=0"] {
        assert_eq!(start(&store, text).expect("a watch").1, "+a");
    }
    let (mut watcher, events) = start(&store, "resourceVersion=2").expect("a watch");
    assert_eq!(events, "");
    assert_eq!(pull(&mut watcher, &store), "+a");
    store.put(pods, pod("a", "y"));
    store.remove(pods, "n/a");
    assert_eq!(pull(&mut watcher, &store), "~a -a");
    assert_eq!(pull(&mut watcher, &store), "");
    assert_eq!(watcher.version(), store.version());
}

#[test]
fn what_leaves_the_selector_is_deleted_and_what_enters_is_added() {
    let pods = named("pods").expect("known");
    let mut store = store();
    let (mut watcher, _) = start(&store, "labelSelector=app%3Dx").expect("a watch");
    store.put(pods, pod("a", "y"));
    assert_eq!(pull(&mut watcher, &store), "");
    store.put(pods, pod("a", "x"));
    store.put(pods, pod("a", "x"));
    let leaves = store.put(pods, pod("a", "y")).version;
    let (events, _) = watcher.pull(&store).expect("kept");
    assert_eq!(told(&events), "+a ~a -a");
    let last = &events[2].object;
    assert_eq!(
        (last.version, last.labels["app"].as_str()),
        (leaves, "x"),
        "its last selected content"
    );
    store.remove(pods, "n/a");
    assert_eq!(pull(&mut watcher, &store), "");
}

#[test]
fn versions_that_are_forgotten_or_never_were() {
    let pods = named("pods").expect("known");
    let mut store = store();
    for app in ["1", "2", "3"] {
        store.put(pods, pod("a", app));
    }
    let (mut behind, _) = start(&store, "resourceVersion=3").expect("a watch");
    let (mut ahead, _) = start(&store, "resourceVersion=8").expect("the future is waited for");
    store.compact();
    let failure = start(&store, "resourceVersion=3").expect_err("forgotten");
    assert_eq!(failure.message, "too old resource version: 3 (5)");
    assert_eq!((failure.code, failure.reason), (410, "Expired"));
    assert_eq!(behind.pull(&store).expect_err("forgotten").code, 410);
    for app in ["6", "7", "8"] {
        store.put(pods, pod("a", app));
    }
    assert_eq!(pull(&mut ahead, &store), "", "it believes to know these");
    store.put(pods, pod("a", "9"));
    assert_eq!(pull(&mut ahead, &store), "~a");
}

#[test]
fn lines_are_json_of_go_types() {
    let store = store();
    for resource in super::super::resource::RESOURCES {
        let line = bookmark(resource, 7);
        assert_eq!(line.last(), Some(&b'\n'));
        let value: Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(value["type"], "BOOKMARK");
        assert_eq!(value["object"]["kind"], resource.kind);
        assert_eq!(value["object"]["metadata"]["resourceVersion"], "7");
    }
    let failure = start(&store, "sendInitialEvents=true").expect_err("no such feature yet");
    assert_eq!(
        failure.message,
        "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for \
         watch unless the WatchList feature gate is enabled"
    );
    let line: Value = serde_json::from_slice(&error(&failure)).expect("JSON");
    assert_eq!(
        (&line["type"], &line["object"]["code"]),
        (&"ERROR".into(), &422.into())
    );
}

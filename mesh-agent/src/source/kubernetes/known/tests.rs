use serde_json::{Value, json, value::to_raw_value};

use super::*;
use crate::source::kubernetes::Resource;
use crate::source::kubernetes::line::Line;

fn pod(name: &str, uid: &str, version: &str, ip: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "shop", "uid": uid, "resourceVersion": version },
        "status": { "phase": "Running", "podIP": ip },
    })
}

fn item(object: &Value) -> Item {
    Resource::Pods.item(&to_raw_value(object).unwrap())
}

fn tombstone(object: &Value) -> Tombstone {
    let line = json!({ "type": "DELETED", "object": object }).to_string();
    match Line::read(Resource::Pods, &line) {
        Ok(Line::Delete(gone)) => gone,
        other => panic!("{other:?}"),
    }
}

fn words(events: impl IntoIterator<Item = Event>) -> Vec<String> {
    let word = |event| match event {
        Event::Upsert(object) => format!("+{}", object.reference()),
        Event::Delete(reference) => format!("-{reference}"),
    };
    events.into_iter().map(word).collect()
}

fn listed(objects: &[Value]) -> Known {
    let mut relist = Known::default().relist();
    for object in objects {
        relist.take(item(object));
    }
    relist.finish().0
}

fn relisted(known: Known, objects: &[Value]) -> (Known, Vec<String>) {
    let mut relist = known.relist();
    for object in objects {
        relist.take(item(object));
    }
    let (known, events) = relist.finish();
    (known, words(events))
}

#[test]
fn only_changes_are_told() {
    let mut known = Known::default();
    let web = pod("web", "u1", "10", "10.0.0.1");
    assert_eq!(words(known.upsert(item(&web))), ["+Pod shop/web"]);
    assert_eq!(known.upsert(item(&web)), None, "repeated");
    assert_eq!(
        known.upsert(item(&pod("web", "u1", "11", "10.0.0.1"))),
        None,
        "nothing of ours changed"
    );
    assert_eq!(
        words(known.upsert(item(&pod("web", "u1", "12", "10.0.0.2")))),
        ["+Pod shop/web"]
    );
    assert_eq!(words(known.delete(&tombstone(&web))), ["-Pod shop/web"]);
    assert_eq!(known.delete(&tombstone(&web)), None, "repeated");
    assert!(known.is_empty());
}

#[test]
fn what_is_older_than_what_is_known_changes_nothing() {
    let mut known = listed(&[pod("web", "u1", "12", "10.0.0.2")]);
    assert_eq!(known.upsert(item(&pod("web", "u1", "9", "10.0.0.1"))), None);
    assert_eq!(known.upsert(item(&pod("web", "u0", "8", "10.0.0.1"))), None);
    assert_eq!(
        words(known.upsert(item(&pod("web", "u1", "13", "10.0.0.1")))),
        ["+Pod shop/web"]
    );
}

#[test]
fn the_end_of_an_older_pod_is_not_that_of_its_successor() {
    let mut known = listed(&[pod("web", "u1", "10", "10.0.0.1")]);
    assert_eq!(
        words(known.upsert(item(&pod("web", "u2", "11", "10.0.0.2")))),
        ["+Pod shop/web"]
    );
    assert_eq!(
        known.delete(&tombstone(&pod("web", "u1", "12", "10.0.0.1"))),
        None
    );
    assert_eq!(known.len(), 1);
    assert_eq!(
        words(known.delete(&tombstone(&pod("web", "u2", "13", "10.0.0.2")))),
        ["-Pod shop/web"]
    );
}

#[test]
fn a_list_tells_what_went_what_came_and_what_changed() {
    let before = [
        pod("same", "u1", "1", "10.0.0.1"),
        pod("changed", "u2", "2", "10.0.0.2"),
        pod("gone", "u3", "3", "10.0.0.3"),
        pod("anew", "u4", "4", "10.0.0.4"),
    ];
    let after = [
        pod("same", "u1", "9", "10.0.0.1"),
        pod("changed", "u2", "9", "10.0.0.12"),
        pod("anew", "u5", "9", "10.0.0.4"),
        pod("new", "u6", "9", "10.0.0.6"),
    ];
    let (known, events) = relisted(listed(&before), &after);
    assert_eq!(
        events,
        [
            "-Pod shop/gone",
            "+Pod shop/anew",
            "+Pod shop/changed",
            "+Pod shop/new"
        ]
    );
    assert_eq!(known.len(), 4);
    // A list is the truth also where it is older than what was seen.
    let (known, events) = relisted(known, &before);
    assert_eq!(
        events,
        [
            "-Pod shop/new",
            "+Pod shop/anew",
            "+Pod shop/changed",
            "+Pod shop/gone"
        ]
    );
    assert_eq!(relisted(known, &before).1, [""; 0]);
}

#[test]
fn what_did_not_change_stays_shared() {
    let web = pod("web", "u1", "1", "10.0.0.1");
    let known = listed(std::slice::from_ref(&web));
    let object = |known: &Known| known.objects.values().next().unwrap().object.clone();
    let Some(Object::Pod(before)) = object(&known) else {
        panic!("a pod")
    };
    let (mut known, _) = relisted(known, &[pod("web", "u1", "2", "10.0.0.1")]);
    let _ = known.upsert(item(&pod("web", "u1", "3", "10.0.0.1")));
    let Some(Object::Pod(after)) = object(&known) else {
        panic!("a pod")
    };
    assert!(Arc::ptr_eq(&before, &after));
}

#[test]
fn a_list_that_breaks_off_changes_nothing() {
    let known = listed(&[pod("a", "u1", "1", "10.0.0.1"), pod("b", "u2", "2", "10.0.0.2")]);
    let mut relist = known.relist();
    relist.take(item(&pod("a", "u1", "3", "10.0.0.9")));
    let known = relist.abort();
    assert_eq!(
        relisted(
            known,
            &[pod("a", "u1", "1", "10.0.0.1"), pod("b", "u2", "2", "10.0.0.2")]
        )
        .1,
        [""; 0]
    );
}

#[test]
fn of_an_object_that_never_could_be_used_nothing_stays() {
    let problem = |known: &Known| {
        known
            .problems()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .concat()
    };
    let never = "Pod shop/web: status.podIP: \"10.0.0\" is not an IP address (the object counts for nothing until that is mended)";
    let mut known = listed(&[pod("web", "u1", "1", "10.0.0")]);
    assert_eq!(problem(&known), never);
    assert_eq!(known.upsert(item(&pod("web", "u1", "2", "10.0.0"))), None);
    assert_eq!(problem(&known), never);
    assert!(known.upsert(item(&pod("web", "u1", "3", "10.0.0.1"))).is_some());
    assert_eq!(problem(&known), "");
    // Another object of the name has said nothing either.
    let _gone = known.upsert(item(&pod("web", "u2", "4", "10.0.0")));
    assert_eq!(problem(&known), never);
}

#[test]
fn an_object_that_can_not_be_used_stays_as_it_was_and_is_named() {
    let problems = |known: &Known| known.problems().map(ToString::to_string).collect::<Vec<_>>();
    let wrong =
        "Pod shop/web: status.podIP: \"10.0.0\" is not an IP address (what the object said before stays)";
    let mut known = listed(&[
        pod("web", "u1", "1", "10.0.0.1"),
        pod("ok", "u2", "2", "10.0.0.2"),
    ]);

    assert_eq!(known.upsert(item(&pod("web", "u1", "3", "10.0.0"))), None);
    assert_eq!(problems(&known), [wrong]);
    // In a list as well, without a word about what went on.
    let (mut known, events) = relisted(
        known,
        &[pod("web", "u1", "3", "10.0.0"), pod("ok", "u2", "4", "10.0.0.3")],
    );
    assert_eq!(
        (events, problems(&known)),
        (vec!["+Pod shop/ok".to_owned()], vec![wrong.to_owned()])
    );

    assert_eq!(
        known.upsert(item(&pod("web", "u1", "5", "10.0.0.1"))),
        None,
        "right again, as it was"
    );
    assert_eq!(problems(&known), [""; 0]);

    // Another object under that name has not said anything before.
    assert_eq!(
        words(known.upsert(item(&pod("web", "u9", "6", "10.0.0")))),
        ["-Pod shop/web"]
    );
    assert_eq!(
        problems(&known),
        [wrong.replace(
            "what the object said before stays",
            "the object counts for nothing until that is mended"
        )]
    );
    assert_eq!(known.delete(&tombstone(&pod("web", "u9", "7", "10.0.0"))), None);
    assert_eq!(problems(&known), [""; 0]);
    assert_eq!(known.len(), 1);
}

#[test]
fn an_object_that_never_was_right_is_named_until_it_goes() {
    let (known, events) = relisted(Known::default(), &[pod("web", "u1", "1", "nowhere")]);
    assert_eq!((events.len(), known.problems().count()), (0, 1));
    let (known, events) = relisted(known, &[]);
    assert_eq!((events.len(), known.problems().count()), (0, 0));
}

/// What a policy is told by: its spec. Who wrote it last, and with which annotation, is nobody's business.
#[test]
fn a_policy_is_told_when_its_rules_change() {
    let policy = |version: u64, generation: u64, annotation: &str, spec: &Value| {
        let object = json!({
            "metadata": {
                "namespace": "shop", "name": "p", "uid": "u1", "resourceVersion": version.to_string(),
                "generation": generation, "annotations": { "note": annotation },
                "managedFields": [{ "manager": annotation }],
            },
            "spec": spec,
        });
        Resource::NetworkPolicies.item(&to_raw_value(&object).unwrap())
    };
    let closed = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    let same = json!({ "podSelector": { "matchLabels": {} }, "ingress": [] });
    let open = json!({ "podSelector": {}, "ingress": [{}] });
    let mut known = Known::default();
    for (item, told) in [
        (policy(1, 1, "a", &closed), true),
        (policy(2, 1, "b", &closed), false),
        (policy(3, 1, "b", &same), false),
        (policy(4, 2, "b", &open), true),
        // Another generation of the same rules: somebody waits for just this one.
        (policy(5, 3, "b", &open), true),
        (policy(4, 2, "b", &closed), false),
    ] {
        let version = item.version.clone();
        let expected = if told {
            vec!["+NetworkPolicy shop/p"]
        } else {
            vec![]
        };
        assert_eq!(words(known.upsert(item)), expected, "{version:?}");
    }
    let mut relist = known.relist();
    relist.take(policy(9, 3, "c", &open));
    let (known, events) = relist.finish();
    assert_eq!((words(events), known.len()), (vec![], 1));
    assert_eq!(words(known.relist().finish().1), ["-NetworkPolicy shop/p"]);
}

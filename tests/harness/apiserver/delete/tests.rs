use super::super::resource::named;
use super::super::scene::{pod, pods, store, writer};
use super::super::write;
use super::*;

fn running(store: &mut Store, finalizers: &Value) {
    let mut value = pod("a", "x");
    value["metadata"]["uid"] = "u".into();
    value["metadata"]["finalizers"] = finalizers.clone();
    value["spec"] = json!({"nodeName": "node1", "terminationGracePeriodSeconds": 20});
    store.put(pods(None).resource, value);
}

fn go(store: &mut Store, options: &Value) -> Answer<Deleted> {
    let options = serde_json::from_value(options.clone()).expect("options");
    delete(store, &pods(Some("a")), &options, &writer("test"))
}

#[test]
fn a_running_pod_is_given_time_and_its_kubelet_deletes_it() {
    let mut store = store();
    running(&mut store, &json!([]));
    let Ok(Deleted::Later(object)) = go(&mut store, &json!({})) else {
        panic!("it is given time")
    };
    let metadata = &object.value()["metadata"];
    assert_eq!(metadata["deletionTimestamp"], "2024-01-01T00:00:20Z");
    assert_eq!(metadata["deletionGracePeriodSeconds"], 20);
    let version = store.version();
    assert!(matches!(go(&mut store, &json!({})), Ok(Deleted::Later(_))));
    assert_eq!(store.version(), version, "asked again, nothing changes");
    let gone = go(&mut store, &json!({"gracePeriodSeconds": 0}));
    assert!(matches!(gone, Ok(Deleted::Now(_))));
    assert_eq!(go(&mut store, &json!({})).expect_err("gone").code, 404);
}

#[test]
fn finalizers_hold_an_object_until_the_last_is_gone() {
    let mut store = store();
    running(&mut store, &json!(["mesh/x"]));
    let held = go(&mut store, &json!({"gracePeriodSeconds": 0}));
    let Ok(Deleted::Later(object)) = held else {
        panic!("it is held")
    };
    let mut value = object.value();
    value["metadata"]["finalizers"] = json!([]);
    write::replace(&mut store, &pods(Some("a")), value, &writer("test")).expect("written");
    assert!(store.get(pods(None).resource, "n/a").is_none());
}

#[test]
fn preconditions() {
    let mut store = store();
    running(&mut store, &json!([]));
    let failure = go(&mut store, &json!({"preconditions": {"uid": "v"}})).expect_err("another");
    assert_eq!(
        failure.message,
        "Operation cannot be fulfilled on pods \"a\": Precondition failed: UID in precondition: v, UID in object \
         meta: u"
    );
    let old = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(go(&mut store, &old).expect_err("old").code, 409);
    assert!(
        go(
            &mut store,
            &json!({"preconditions": {"uid": "u"}, "dryRun": ["All"]})
        )
        .is_ok()
    );
}

#[test]
fn a_namespace_goes_with_all_that_is_in_it() {
    let mut store = store();
    running(&mut store, &json!([]));
    let start = store.version();
    let namespace = super::super::scene::target("/api/v1/namespaces/n");
    let deleted = delete(&mut store, &namespace, &Options::default(), &writer("test")).expect("deleted");
    let body: Value = serde_json::from_slice(&deleted.body()).expect("JSON");
    assert_eq!(
        (&body["kind"], &body["status"]),
        (&"Status".into(), &"Success".into())
    );
    assert!(store.objects(named("pods").expect("known")).is_empty());
    let told = store.since(namespace.resource, start, 9).expect("kept");
    assert_eq!(told[0].object.value()["status"]["phase"], "Terminating");
    assert!(told[1].deleted && told.len() == 2);
}

use super::super::scene::{pod, pods, store, target, writer};
use super::*;

fn made(store: &mut Store, name: &str) -> Value {
    let object = create(store, &pods(None), pod(name, "x"), &writer("test"));
    object.expect("made").value()
}

#[test]
fn a_new_object_gets_what_the_server_gives() {
    let mut store = store();
    let mut value = pod("", "x");
    value["metadata"]["generateName"] = "web-".into();
    value["metadata"]["uid"] = "mine".into();
    value["status"] = json!({"phase": "Running", "podIP": "10.0.0.1"});
    let value = create(&mut store, &pods(None), value, &writer("test"))
        .expect("made")
        .value();
    let metadata = &value["metadata"];
    let name = metadata["name"].as_str().expect("a name");
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_eq!(metadata["uid"].as_str().map(str::len), Some(36));
    assert_eq!(metadata["creationTimestamp"], "2024-01-01T00:00:00Z");
    assert_eq!(
        value["status"],
        json!({"phase": "Pending"}),
        "a status is not made"
    );
}

#[test]
fn what_cannot_be_made_is_refused() {
    let mut store = store();
    made(&mut store, "a");
    let mut refused = |path: &str, value: Value| {
        let refused = create(&mut store, &target(path), value, &writer("test"));
        refused.map_or_else(
            |failure| (failure.code, failure.message),
            |_| (201, String::new()),
        )
    };
    let pods = "/api/v1/namespaces/n/pods";
    assert_eq!(
        refused(pods, pod("a", "x")),
        (409, "pods \"a\" already exists".into())
    );
    assert_eq!(
        refused(pods, pod("", "x")),
        (
            422,
            "Pod \"\" is invalid: metadata.name: Required value: name or generateName is required".into()
        )
    );
    assert_eq!(refused(pods, pod("A", "x")).0, 422);
    assert_eq!(
        refused(
            "/api/v1/namespaces/m/configmaps",
            json!({"metadata": {"name": "a"}})
        ),
        (404, "namespaces \"m\" not found".into())
    );
    assert_eq!(
        refused("/api/v1/namespaces/m/pods", pod("a", "x")).0,
        400,
        "another namespace"
    );
    assert_eq!(
        refused(pods, json!({"kind": "Service", "metadata": {"name": "b"}})).0,
        400
    );
    assert_eq!(refused(pods, json!([])).0, 400);
    assert_eq!(
        refused(pods, json!({"metadata": {"name": "b", "resourceVersion": "1"}})).0,
        500
    );
}

#[test]
fn who_read_an_old_version_is_told_so() {
    let mut store = store();
    let first = made(&mut store, "a");
    let one = pods(Some("a"));
    let mut change = |from: &Value, app: &str| {
        let mut value = from.clone();
        value["metadata"]["labels"]["app"] = app.into();
        let done = replace(&mut store, &one, value, &writer("test"));
        done.map(|object| object.value())
            .map_err(|failure| failure.message)
    };
    let second = change(&first, "y").expect("written");
    assert_eq!(
        change(&first, "z").expect_err("old"),
        "Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the \
         latest version and try again"
    );
    let again = change(&second, "y").expect("written");
    assert_eq!(
        again["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"],
        "nothing changed"
    );
    let mut any = second;
    any["metadata"]["resourceVersion"] = "".into();
    assert_eq!(
        change(&any, "w").expect("any version")["metadata"]["labels"]["app"],
        "w"
    );
    any["metadata"]["uid"] = "other".into();
    assert!(
        change(&any, "v")
            .expect_err("another object")
            .contains("UID in precondition")
    );
}

#[test]
fn status_and_the_rest_are_written_apart() {
    let mut store = store();
    let mut value = made(&mut store, "a");
    value["status"] = json!({"phase": "Running"});
    value["spec"]["nodeName"] = "node1".into();
    let one = pods(Some("a"));
    let main = replace(&mut store, &one, value.clone(), &writer("test"))
        .expect("written")
        .value();
    assert_eq!(
        (&main["spec"]["nodeName"], &main["status"]["phase"]),
        (&"node1".into(), &"Pending".into())
    );
    let mut status = main.clone();
    status["status"]["phase"] = "Running".into();
    status["spec"]["nodeName"] = "node2".into();
    let kubelet = Writer {
        status: true,
        ..writer("kubelet")
    };
    let both = replace(&mut store, &one, status, &kubelet)
        .expect("written")
        .value();
    assert_eq!(
        (&both["spec"]["nodeName"], &both["status"]["phase"]),
        (&"node1".into(), &"Running".into())
    );
    let entries = both["metadata"]["managedFields"].as_array().expect("entries");
    let last = entries.iter().find(|entry| entry["subresource"] == "status");
    let last = last.expect("one of the status");
    assert_eq!(last["manager"], "kubelet");
    assert_eq!(last["fieldsV1"], json!({"f:status": {"f:phase": {}}}));
}

#[test]
fn generation_counts_what_is_wanted_not_what_is_seen() {
    let mut store = store();
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/n/gateways";
    let made = create(
        &mut store,
        &target(path),
        json!({"metadata": {"name": "g"}, "spec": {"gatewayClassName": "mesh"}, "status": {"x": 1}}),
        &writer("test"),
    );
    let mut value = made.expect("made").value();
    assert_eq!(
        (&value["metadata"]["generation"], value.get("status")),
        (&1.into(), None)
    );
    let one = target(&format!("{path}/g"));
    for (status, label, class, generation) in [
        (true, "a", "mesh", 1),
        (false, "b", "mesh", 1),
        (false, "b", "other", 2),
    ] {
        value["status"] = json!({"round": label});
        value["metadata"]["labels"] = json!({"l": label});
        value["spec"]["gatewayClassName"] = class.into();
        let writer = Writer {
            status,
            ..writer("test")
        };
        value = replace(&mut store, &one, value, &writer)
            .expect("written")
            .value();
        assert_eq!(value["metadata"]["generation"], generation, "{label} {class}");
    }
    value["metadata"]["resourceVersion"].take();
    let failure = replace(&mut store, &one, value, &writer("test")).expect_err("custom resources need it");
    assert_eq!(failure.code, 422);
}

#[test]
fn a_try_writes_nothing() {
    let mut store = store();
    let version = store.version();
    let dry = Writer {
        dry_run: true,
        ..writer("test")
    };
    let object = create(&mut store, &pods(None), pod("a", "x"), &dry).expect("could be made");
    assert_eq!((object.name.as_str(), store.version()), ("a", version));
    assert_eq!(find(&store, &pods(Some("a"))).expect_err("not made").code, 404);
}

use super::super::resource::named;
use super::super::scene::{pods, store, target, writer};
use super::*;

const CONFIG: &str = "/api/v1/namespaces/n/configmaps/c";

fn config(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

fn applied(store: &mut Store, manager: &str, data: &Value, force: bool) -> Answer<Value> {
    let done = apply(store, &target(CONFIG), config(data), force, &writer(manager));
    done.map(|(object, _)| object.value())
}

fn managers(value: &Value) -> Vec<(String, Value)> {
    let entries = managed::entries(value);
    let list = value["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(entries.len(), list.len());
    list.into_iter()
        .map(|entry| {
            let who = format!("{} {}", entry["operation"], entry["manager"]).replace('"', "");
            (who, entry["fieldsV1"]["f:data"].clone())
        })
        .collect()
}

#[test]
fn what_a_manager_stops_applying_is_removed_unless_another_has_it() {
    let mut store = store();
    let (_, made) = apply(
        &mut store,
        &target(CONFIG),
        config(&json!({"a": "1", "b": "1"})),
        false,
        &writer("x"),
    )
    .expect("made");
    assert!(made);
    applied(&mut store, "y", &json!({"b": "1"}), false).expect("the same value is no conflict");
    let value = applied(&mut store, "x", &json!({"c": "1"}), false).expect("applied");
    assert_eq!(value["data"], json!({"b": "1", "c": "1"}));
    assert_eq!(
        managers(&value),
        [
            ("Apply x".into(), json!({"f:c": {}})),
            ("Apply y".into(), json!({"f:b": {}}))
        ]
    );
    let value = applied(&mut store, "y", &json!({}), false).expect("applied");
    assert_eq!(value["data"], json!({"c": "1"}));
    let version = store.version();
    applied(&mut store, "x", &json!({"c": "1"}), false).expect("applied");
    assert_eq!(store.version(), version, "applied again, nothing changes");
}

#[test]
fn another_managers_value_is_a_conflict_until_it_is_taken_by_force() {
    let mut store = store();
    applied(&mut store, "x", &json!({"a": "1", "b": "1"}), false).expect("made");
    let failure = applied(&mut store, "y", &json!({"a": "2"}), false).expect_err("x has it");
    assert_eq!(failure.code, 409);
    assert_eq!(
        failure.message,
        "Apply failed with 1 conflict: conflict with \"x\": .data.a"
    );
    let failure = applied(&mut store, "y", &json!({"a": "2", "b": "2"}), false).expect_err("x has both");
    assert_eq!(
        failure.message,
        "Apply failed with 2 conflicts: conflicts with \"x\":\n- .data.a\n- .data.b"
    );
    assert_eq!(
        failure.body()["details"]["causes"][1],
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"x\"", "field": ".data.b"})
    );
    let value = applied(&mut store, "y", &json!({"a": "2"}), true).expect("forced");
    assert_eq!(
        managers(&value),
        [
            ("Apply x".into(), json!({"f:b": {}})),
            ("Apply y".into(), json!({"f:a": {}}))
        ]
    );
    let failure = applied(&mut store, "x", &json!({"a": "1", "b": "1"}), false).expect_err("y took it");
    assert!(
        failure.message.contains("conflict with \"y\": .data.a"),
        "{}",
        failure.message
    );
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut store = store();
    let mut value = applied(&mut store, "x", &json!({"a": "1", "b": "1"}), false).expect("made");
    value["data"]["a"] = "2".into();
    let value = write::replace(&mut store, &target(CONFIG), value, &writer("kubectl")).expect("written");
    assert_eq!(
        managers(&value.value()),
        [
            ("Apply x".into(), json!({"f:b": {}})),
            ("Update kubectl".into(), json!({"f:a": {}}))
        ]
    );
    let failure = applied(&mut store, "x", &json!({"a": "1"}), false).expect_err("changed since");
    assert_eq!(
        failure.message,
        "Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.a"
    );
}

#[test]
fn items_of_lists_belong_to_managers() {
    let mut store = store();
    let service = target("/api/v1/namespaces/n/services/s");
    let ports = |ports: Value| json!({"metadata": {"name": "s"}, "spec": {"ports": ports}});
    let mut go = |manager: &str, list: Value| {
        let done = apply(&mut store, &service, ports(list), false, &writer(manager));
        done.map(|(object, _)| object.value()["spec"]["ports"].clone())
    };
    go("x", json!([{"name": "a", "port": 80}])).expect("made");
    let both = go("y", json!([{"name": "b", "port": 81}])).expect("applied");
    assert_eq!(both.as_array().map(Vec::len), Some(2));
    let failure = go("y", json!([{"name": "c", "port": 80}])).expect_err("x names it");
    assert!(
        failure
            .message
            .ends_with(".spec.ports[port=80,protocol=\"TCP\"].name"),
        "{}",
        failure.message
    );
    let left = go("x", json!([])).expect("applied");
    assert_eq!(
        left,
        json!([{"name": "b", "port": 81, "protocol": "TCP", "targetPort": 81}])
    );
}

#[test]
fn status_is_applied_on_its_own() {
    let mut store = store();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}});
    let status = Writer {
        status: true,
        ..writer("mesh")
    };
    let condition = |spec: &str| {
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": spec},
               "status": {"conditions": [{"type": "mesh/Ready", "status": "True"}]}})
    };
    let one = pods(Some("p"));
    let failure = apply(&mut store, &one, condition("m"), false, &status).expect_err("nothing there");
    assert_eq!(failure.code, 404);
    write::create(&mut store, &pods(None), pod, &writer("kubelet")).expect("made");
    let (object, _) = apply(&mut store, &one, condition("m"), false, &status).expect("applied");
    let value = object.value();
    assert_eq!(value["spec"]["nodeName"], "n");
    assert_eq!(value["status"]["conditions"][0]["type"], "mesh/Ready");
    let first = &value["metadata"]["managedFields"][0];
    assert_eq!(
        (&first["operation"], &first["subresource"]),
        (&"Apply".into(), &"status".into())
    );
}

#[test]
fn objects_of_before_are_noted_at_the_first_apply() {
    let mut store = store();
    store.put(
        named("configmaps").expect("known"),
        json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "u"}, "data": {"a": "1"},
        }),
    );
    let failure = applied(&mut store, "x", &json!({"a": "2"}), false).expect_err("someone's");
    assert_eq!(
        failure.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
    let mut managed = config(&json!({}));
    managed["metadata"]["managedFields"] = json!([{}]);
    let failure = apply(&mut store, &target(CONFIG), managed, false, &writer("x")).expect_err("refused");
    assert_eq!(failure.message, "metadata.managedFields must be nil");
}

//! Writes over HTTP, each with its status.

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::Bench;

const PODS: &str = "/api/v1/namespaces/n/pods";

#[tokio::test]
async fn one_object_from_its_making_to_its_end() -> Result<()> {
    let bench = Bench::new().await?;
    let made = bench
        .post(PODS, &json!({"metadata": {"generateName": "a-", "labels": {"app": "x"}}, "spec": {"nodeName": "node1"}}))
        .await?;
    assert_eq!((made.code, &made.body["kind"]), (201, &"Pod".into()));
    let name = made.body["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let one = format!("{PODS}/{name}");
    assert_eq!(bench.get(&one).await?.body, made.body);

    let mut changed = made.body.clone();
    changed["metadata"]["labels"]["app"] = "y".into();
    assert_eq!(bench.put(&one, &changed).await?.code, 200);
    let conflict = bench.put(&one, &changed).await?;
    assert_eq!(
        (conflict.code, &conflict.body["reason"]),
        (409, &"Conflict".into())
    );

    let condition = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let ignored = bench.patch("merge-patch+json", &one, &condition).await?;
    assert_eq!(
        (ignored.code, ignored.body["status"].get("conditions")),
        (200, None)
    );
    let status = format!("{one}/status");
    bench.patch("merge-patch+json", &status, &condition).await?;
    let more = json!({"status": {"conditions": [{"type": "Mesh", "status": "True"}]}});
    let both = bench.patch("strategic-merge-patch+json", &status, &more).await?;
    assert_eq!(
        both.body["status"]["conditions"].as_array().map(Vec::len),
        Some(2),
        "{}",
        both.body
    );
    let test = json!([
        {"op": "test", "path": "/metadata/labels/app", "value": "y"},
        {"op": "remove", "path": "/metadata/labels/app"},
    ]);
    let removed = bench.patch("json-patch+json", &one, &test).await?;
    assert_eq!(
        (removed.code, &removed.body["metadata"]["labels"]),
        (200, &json!({}))
    );
    assert_eq!(
        bench.patch("json-patch+json", &one, &test).await?.code,
        422,
        "the test fails now"
    );
    assert_eq!(bench.patch("nothing", &one, &test).await?.code, 415);

    let leaving = bench.delete(&one).await?;
    assert_eq!(leaving.body["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(
        bench.delete(&format!("{one}?gracePeriodSeconds=0")).await?.code,
        200
    );
    let gone = bench.get(&one).await?;
    assert_eq!(
        (gone.code, &gone.body["message"]),
        (404, &format!("pods \"{name}\" not found").into())
    );
    Ok(())
}

#[tokio::test]
async fn applies_over_http() -> Result<()> {
    let bench = Bench::new().await?;
    let config = "/api/v1/namespaces/n/configmaps/c";
    let apply = async |query: &str, data: Value| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data});
        bench
            .patch("apply-patch+yaml", &format!("{config}{query}"), &body)
            .await
    };
    assert_eq!(apply("", json!({})).await?.code, 422, "who is it?");
    assert_eq!(
        apply("?fieldManager=x", json!({"a": "1", "b": "1"})).await?.code,
        201
    );
    let conflict = apply("?fieldManager=y", json!({"a": "2"})).await?;
    assert_eq!(
        (conflict.code, &conflict.body["message"]),
        (
            409,
            &"Apply failed with 1 conflict: conflict with \"x\": .data.a".into()
        )
    );
    assert_eq!(
        apply("?fieldManager=y&force=true", json!({"a": "2"})).await?.code,
        200
    );
    let value = apply("?fieldManager=x", json!({"c": "1"})).await?.body;
    assert_eq!(value["data"], json!({"a": "2", "c": "1"}));
    let forced = bench
        .patch("merge-patch+json", &format!("{config}?force=true"), &json!({}))
        .await?;
    assert_eq!(forced.code, 422);
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  d: '1'\n";
    let request = hyper::Request::patch(format!("{config}?fieldManager=z"))
        .header("content-type", "application/apply-patch+yaml")
        .body(kube::client::Body::from(yaml.as_bytes().to_vec()))?;
    assert_eq!(bench.client.send(request).await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn collections_are_deleted_by_selector() -> Result<()> {
    let bench = Bench::new().await?;
    let configs = "/api/v1/namespaces/n/configmaps";
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let body = json!({"metadata": {"name": name, "labels": {"app": app}}});
        assert_eq!(bench.post(configs, &body).await?.code, 201);
    }
    let deleted = bench.delete(&format!("{configs}?labelSelector=app%3Dx")).await?;
    assert_eq!(
        (deleted.code, &deleted.body["kind"]),
        (200, &"ConfigMapList".into())
    );
    assert_eq!(deleted.body["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(bench.server.len("configmaps")?, 1);
    Ok(())
}

#[tokio::test]
async fn what_is_no_request_is_refused() -> Result<()> {
    let bench = Bench::new().await?;
    for (method, path, code) in [
        ("GET", "/api/v1/things", 404),
        ("GET", "/nothing", 404),
        ("POST", PODS, 400),
        ("POST", "/api/v1/pods", 405),
        ("PUT", PODS, 405),
        ("GET", "/api/v1/pods?labelSelector=a%20b", 400),
        ("GET", "/api/v1/services?fieldSelector=spec.x%3Dy", 400),
        ("GET", "/api/v1/pods?limit=x", 400),
        (
            "GET",
            "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            422,
        ),
    ] {
        let answer = bench.ask(method, path, "application/json", &Value::Null).await?;
        assert_eq!(answer.code, code, "{method} {path}: {}", answer.body);
        assert_eq!(answer.body["kind"], "Status", "{path}");
        assert_eq!(answer.body["code"], code, "{path}");
    }
    let huge = json!({"metadata": {"name": "a"}, "data": {"x": "y".repeat(4 << 20)}});
    assert_eq!(
        bench.post("/api/v1/namespaces/n/configmaps", &huge).await?.code,
        413
    );
    let text = bench.ask("POST", PODS, "text/plain", &json!({})).await?;
    assert_eq!(text.code, 415);
    for (path, body) in [("/healthz", "ok"), ("/readyz", "ok"), ("/livez", "ok")] {
        assert_eq!(bench.get(path).await?.body, body);
    }
    assert_eq!(bench.get("/version").await?.body["minor"], "28");
    Ok(())
}

#[tokio::test]
async fn lists_come_in_pieces_while_objects_change() -> Result<()> {
    let bench = Bench::with(|builder| builder.window(5)).await?;
    for name in ["a", "b", "c", "d"] {
        bench.config(name, "1")?;
    }
    let first = bench.get("/api/v1/configmaps?limit=3").await?.body;
    let token = first["metadata"]["continue"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    bench.config("d", "2")?;
    bench.config("e", "2")?;
    let next = format!("/api/v1/configmaps?limit=3&continue={token}");
    let rest = bench.get(&next).await?.body;
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        rest["items"][0]["data"]["round"], "1",
        "as it was for the first piece"
    );
    for round in 0..6 {
        bench.config("f", &round.to_string())?;
    }
    let expired = bench.get(&next).await?;
    assert_eq!((expired.code, &expired.body["reason"]), (410, &"Expired".into()));
    let token = expired.body["metadata"]["continue"].as_str().unwrap_or_default();
    let rest = bench
        .get(&format!("/api/v1/configmaps?continue={token}"))
        .await?
        .body;
    assert_eq!(
        rest["items"].as_array().map(Vec::len),
        Some(3),
        "the rest as it is now"
    );
    let log = bench.server.requests();
    assert_eq!(log.iter().filter(|request| request.continued).count(), 3);
    assert_eq!((log[0].limit, log[0].verb.as_str()), (3, "list"));
    Ok(())
}

/// What the server fills in of a policy, and what counts as another generation of it.
#[tokio::test]
async fn policies_have_defaults_and_generations() -> Result<()> {
    let bench = Bench::new().await?;
    let path = "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies";
    let egress = json!([{ "ports": [{ "port": 53 }, { "port": 53, "protocol": "UDP" }] }]);
    for (name, spec, types) in [
        ("a", json!({ "podSelector": {} }), json!(["Ingress"])),
        (
            "b",
            json!({ "podSelector": {}, "egress": egress }),
            json!(["Ingress", "Egress"]),
        ),
        (
            "c",
            json!({ "podSelector": {}, "egress": [] }),
            json!(["Ingress"]),
        ),
        (
            "d",
            json!({ "podSelector": {}, "policyTypes": ["Egress"] }),
            json!(["Egress"]),
        ),
    ] {
        let object = json!({ "metadata": { "name": name }, "spec": spec });
        let made = bench.post(path, &object).await?;
        assert_eq!(
            (made.code, &made.body["spec"]["policyTypes"]),
            (201, &types),
            "{name}"
        );
        assert_eq!(made.body["metadata"]["generation"], 1, "{name}");
    }
    let one = format!("{path}/b");
    let made = bench.get(&one).await?.body;
    let ports = json!([{ "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }]);
    assert_eq!(made["spec"]["egress"][0]["ports"], ports);
    for (patch, generation) in [
        (json!({ "metadata": { "annotations": { "a": "b" } } }), 1),
        (json!({ "spec": { "egress": [{}] } }), 2),
        (json!({ "spec": { "egress": [{}] } }), 2),
        (json!({ "metadata": { "labels": { "a": "b" } } }), 2),
    ] {
        let changed = bench.patch("merge-patch+json", &one, &patch).await?;
        assert_eq!(changed.body["metadata"]["generation"], generation, "{patch}");
    }
    Ok(())
}

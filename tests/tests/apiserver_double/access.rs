//! Who may do what.

use anyhow::Result;
use harness::apiserver::{AGENT, Denial};
use hyper::Request;
use kube::api::ListParams;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::bench::{Bench, client};

#[tokio::test]
async fn an_old_token_is_refused() -> Result<()> {
    let bench = Bench::new().await?;
    let ask = async |token: &str| -> Result<u16> {
        let request = Request::get("/api/v1/namespaces").header("authorization", format!("Bearer {token}"));
        let anonymous = bench.server.kubeconfig(&json!({}));
        let kubeconfig = Kubeconfig::from_yaml(&anonymous)?;
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        let client = kube::Client::try_from(config)?;
        Ok(client.send(request.body(Body::empty())?).await?.status().as_u16())
    };
    let old = bench.server.token()?;
    assert_eq!(ask(&old).await?, 200);
    assert_eq!(ask("none").await?, 401);
    bench.server.set_token("new")?;
    assert_eq!(ask(&old).await?, 401);
    assert_eq!(ask("new").await?, 200);
    assert_eq!(bench.server.token()?, "new");
    let unauthorized = bench.get("/api/v1/namespaces").await?;
    assert_eq!(unauthorized.code, 401, "the client still has the old one");
    assert_eq!(
        unauthorized.body,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
               "reason": "Unauthorized", "code": 401})
    );
    Ok(())
}

#[tokio::test]
async fn a_denial_meets_the_agent_and_not_the_administrator() -> Result<()> {
    let bench = Bench::new().await?;
    bench.server.deny(Denial {
        verb: Some("list".into()),
        resource: Some("pods".into()),
        namespace: None,
    });
    let denied = bench.get("/api/v1/pods").await?;
    assert_eq!(denied.code, 403);
    let message = format!(
        "pods is forbidden: User \"{AGENT}\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    assert_eq!(denied.body["message"], message.as_str());
    assert_eq!(denied.body["reason"], "Forbidden");
    let admin = client(&bench.server, "admin.kubeconfig").await?;
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::all(admin);
    assert!(pods.list(&ListParams::default()).await?.items.is_empty());
    bench.server.allow_all();
    assert_eq!(bench.get("/api/v1/pods").await?.code, 200);
    let users: Vec<_> = bench
        .server
        .requests()
        .iter()
        .map(|request| (request.user.clone(), request.status))
        .collect();
    assert_eq!(
        users,
        [
            (AGENT.into(), 403),
            ("kubernetes-admin".into(), 200),
            (AGENT.into(), 200)
        ]
    );
    Ok(())
}

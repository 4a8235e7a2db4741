//! A server, and a client that shows what went over the wire.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use harness::apiserver::{ApiServer, Builder};
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Request, Response};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a line of a watch may take.
const LINE: Duration = Duration::from_secs(5);

pub struct Bench {
    pub server: ApiServer,
    pub client: Client,
    _dir: TempDir,
}

/// An answer.
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Bench {
    pub async fn new() -> Result<Self> {
        Self::with(|builder| builder).await
    }

    /// With the namespace `n`, used by the agent's user.
    pub async fn with(change: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        let dir = TempDir::new()?;
        let server = change(ApiServer::builder(dir.path())).start()?;
        server.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}))?;
        let client = client(&server, "kubeconfig").await?;
        Ok(Self {
            server,
            client,
            _dir: dir,
        })
    }

    /// Sends a request.
    pub async fn ask(&self, method: &str, path: &str, format: &str, body: &Value) -> Result<Answer> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", format)
            .header("user-agent", "bench/1")
            .body(Body::from(body))?;
        read(self.client.send(request).await?).await
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.ask("GET", path, "", &Value::Null).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.ask("POST", path, "application/json", body).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.ask("PUT", path, "application/json", body).await
    }

    pub async fn patch(&self, kind: &str, path: &str, body: &Value) -> Result<Answer> {
        self.ask("PATCH", path, &format!("application/{kind}"), body)
            .await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.ask("DELETE", path, "", &Value::Null).await
    }

    /// Opens a watch; it must be answered with 200.
    pub async fn watch(&self, path: &str) -> Result<Watch> {
        let response = self.client.send(Request::get(path).body(Body::empty())?).await?;
        anyhow::ensure!(response.status() == 200, "{path}: {}", response.status());
        let headers = response.headers().clone();
        let bytes = response.into_body().into_data_stream();
        let lines = bytes.map_err(std::io::Error::other).into_async_read().lines();
        Ok(Watch {
            headers,
            lines: lines.boxed(),
        })
    }

    /// The config map `name` with this data, as the handle writes it.
    pub fn config(&self, name: &str, data: &str) -> Result<u64> {
        self.server.put(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"},
            "data": {"round": data},
        }))
    }
}

async fn read(response: Response<Body>) -> Result<Answer> {
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
    Ok(Answer { code, headers, body })
}

/// A client that shows every answer, however bad.
pub async fn client(server: &ApiServer, kubeconfig: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(server.file(kubeconfig))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// An open watch.
pub struct Watch {
    pub headers: HeaderMap,
    lines: futures_util::stream::BoxStream<'static, std::io::Result<String>>,
}

impl Watch {
    /// The next line; `None` is the end, an error a broken connection.
    pub async fn line(&mut self) -> Result<Option<String>> {
        let line = tokio::time::timeout(harness::patient(LINE), self.lines.next()).await;
        line.context("no line came")?.transpose().map_err(Into::into)
    }

    /// The next event.
    pub async fn next(&mut self) -> Result<Value> {
        let line = self.line().await?.context("the watch ended")?;
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))
    }

    /// The next event as `ADDED name`.
    pub async fn told(&mut self) -> Result<String> {
        let event = self.next().await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(format!(
            "{} {}",
            text(&event["type"]),
            text(&event["object"]["metadata"]["name"])
        ))
    }

    /// Whether nothing comes for a while.
    pub async fn silent(&mut self) -> bool {
        let wait = harness::patient(Duration::from_millis(150));
        tokio::time::timeout(wait, self.lines.next()).await.is_err()
    }
}

//! Asks the agent over its Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::failure::Failure;
use crate::app::{
    admin::{self, Drift, FlowQuery, Status, UnusedEndpoint, policies},
    lock,
    policy::{ExplainQuery, Explained, PolicyDetail, PolicyRow, Versions},
    settings::Settings,
};

/// The agent answers from memory; only one that hangs takes this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The agent of a runtime directory.
#[derive(Clone, Debug)]
pub struct Agent {
    socket: PathBuf,
}

/// Why the agent did not answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Silence {
    /// Nobody listens.
    #[error(
        "mesh-agent is not running (nobody listens on {0}): start it, or point --run-dir at its directory"
    )]
    NotRunning(PathBuf),
    /// The socket is not for this user.
    #[error("no permission to ask mesh-agent on {0}: run meshctl as root")]
    Forbidden(PathBuf),
    /// It says that there is no answer to this question.
    #[error("{0}")]
    NoAnswer(String),
    /// Anything else.
    #[error("asking mesh-agent on {socket}: {why}")]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        why: String,
    },
}

impl From<Silence> for Failure {
    fn from(silence: Silence) -> Self {
        Self::failed(silence.to_string())
    }
}

impl Agent {
    /// The agent with the given runtime directory.
    pub fn new(run_dir: &Path) -> Self {
        Self {
            socket: lock::admin_socket(run_dir),
        }
    }

    /// How it is.
    pub fn status(&self) -> Result<Status, Silence> {
        self.get(admin::STATUS)
    }

    /// What the tables should hold and do not, and the other way round.
    pub fn diff(&self) -> Result<Vec<Drift>, Silence> {
        self.get(admin::DIFF)
    }

    /// The endpoints of a Service that are not used.
    pub fn unused(&self, namespace: &str, name: &str) -> Result<Vec<UnusedEndpoint>, Silence> {
        self.get(&format!("{}?namespace={namespace}&name={name}", admin::UNUSED))
    }

    /// Why a flow passes or does not.
    pub fn explain(&self, query: &ExplainQuery) -> Result<Explained, Silence> {
        let ExplainQuery { from, to, protocol } = query;
        self.get(&format!(
            "{}?from={from}&to={to}&protocol={protocol}",
            policies::EXPLAIN
        ))
    }

    /// The network policies of a namespace, or all.
    pub fn policies(&self, namespace: Option<&str>) -> Result<Vec<PolicyRow>, Silence> {
        let namespace = namespace.unwrap_or_default();
        self.get(&format!("{}?namespace={namespace}", policies::POLICIES))
    }

    /// A network policy, and what was made of it.
    pub fn policy(&self, namespace: &str, name: &str) -> Result<PolicyDetail, Silence> {
        self.get(&format!("{}?namespace={namespace}&name={name}", policies::POLICY))
    }

    /// Which version of a network policy is in force.
    pub fn policy_versions(&self, namespace: &str, name: &str) -> Result<Versions, Silence> {
        self.get(&format!(
            "{}?namespace={namespace}&name={name}",
            policies::POLICY_VERSIONS
        ))
    }

    /// What it was started with.
    pub fn settings(&self) -> Result<Settings, Silence> {
        self.get(admin::SETTINGS)
    }

    /// Switches acceleration off, or on again.
    pub fn switch_acceleration(&self, off: bool) -> Result<(), Silence> {
        let path = format!("{}?off={off}", admin::ACCELERATION);
        self.ask(Method::POST, &path).map(drop)
    }

    /// Flow records, each a line of JSON, until `each` wants no more or the agent ends.
    pub fn flows(&self, query: &FlowQuery, mut each: impl FnMut(&str) -> bool) -> Result<(), Silence> {
        let FlowQuery {
            follow,
            last,
            verdict,
        } = query;
        let verdict = verdict.map_or_else(String::new, |verdict| format!("&verdict={}", verdict.name()));
        let path = format!("{}?follow={follow}&last={last}{verdict}", admin::FLOWS);
        self.on_stream(async |stream| lines(stream, &path, &mut each).await)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Silence> {
        let body = self.ask(Method::GET, path)?;
        serde_json::from_slice(&body).map_err(|error| Silence::Broken {
            socket: self.socket.clone(),
            why: format!("an answer of another version than this meshctl's: {error}"),
        })
    }

    fn ask(&self, method: Method, path: &str) -> Result<Bytes, Silence> {
        self.on_stream(async |stream| {
            let answer = tokio::time::timeout(TIMEOUT, fetch(stream, method, path)).await;
            answer.map_err(|_| anyhow::anyhow!("no answer within {TIMEOUT:?}"))?
        })
    }

    /// Connects, and does something with the connection.
    fn on_stream<T>(&self, work: impl AsyncFnOnce(UnixStream) -> anyhow::Result<T>) -> Result<T, Silence> {
        let broken = |why: String| Silence::Broken {
            socket: self.socket.clone(),
            why,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| broken(error.to_string()))?;
        runtime.block_on(async {
            let stream = UnixStream::connect(&self.socket).await;
            let stream = stream.map_err(|error| silence(&self.socket, &error))?;
            work(stream).await.map_err(|error| match error.downcast() {
                Ok(NoAnswer(why)) => Silence::NoAnswer(why),
                Err(error) => broken(format!("{error:#}")),
            })
        })
    }
}

/// The agent's reason for having no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoAnswer(String);

async fn lines(stream: UnixStream, path: &str, each: &mut impl FnMut(&str) -> bool) -> anyhow::Result<()> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(HOST, "mesh-agent")
        .body(Empty::<Bytes>::new())?;
    let connection = tokio::spawn(connection);
    let mut body = sender.send_request(request).await?.into_body();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if !each(String::from_utf8_lossy(&line).trim_end()) {
                connection.abort();
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn fetch(stream: UnixStream, method: Method, path: &str) -> anyhow::Result<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "mesh-agent")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let said = || String::from_utf8_lossy(&body).trim().to_owned();
        match status {
            StatusCode::OK => Ok(body),
            // An agent of another version has no such question, and nothing to say to it.
            StatusCode::NOT_FOUND if !body.is_empty() => Err(NoAnswer(said()).into()),
            _ => Err(anyhow::anyhow!("{status}: {}", said())),
        }
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
}

fn silence(socket: &Path, error: &io::Error) -> Silence {
    let socket = socket.to_path_buf();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Silence::NotRunning(socket),
        io::ErrorKind::PermissionDenied => Silence::Forbidden(socket),
        _ => Silence::Broken {
            socket,
            why: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    fn answering(response: &'static str) -> (tempfile::TempDir, Result<Status, Silence>) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(lock::admin_socket(dir.path())).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let len = stream.read(&mut request).unwrap();
            assert!(request[..len].starts_with(b"GET /v1/status HTTP/1.1\r\n"));
            stream.write_all(response.as_bytes()).unwrap();
        });
        let answer = Agent::new(dir.path()).status();
        server.join().unwrap();
        (dir, answer)
    }

    #[test]
    fn without_an_agent_the_next_step_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let silence = Agent::new(dir.path()).status().unwrap_err();
        assert!(matches!(silence, Silence::NotRunning(_)));
        assert!(
            silence.to_string().starts_with("mesh-agent is not running"),
            "{silence}"
        );
        drop(UnixListener::bind(lock::admin_socket(dir.path())).unwrap());
        assert!(matches!(
            Agent::new(dir.path()).diff(),
            Err(Silence::NotRunning(_))
        ));
    }

    #[test]
    fn an_answer_is_read() {
        let (_dir, answer) =
            answering("HTTP/1.1 200 OK\r\ncontent-length: 26\r\n\r\n{\"version\":\"1\",\"pid\":12  }");
        let status = answer.unwrap();
        assert_eq!((status.pid, status.version.as_str()), (12, "1"));
    }

    #[test]
    fn what_has_no_answer_is_said_in_the_agents_words() {
        let (_dir, answer) = answering("HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\n\r\nno pod");
        assert_eq!(answer.unwrap_err(), Silence::NoAnswer("no pod".into()));
        let (_dir, answer) = answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        assert!(answer.unwrap_err().to_string().contains("404 Not Found"));
    }

    #[test]
    fn a_refusal_is_quoted() {
        let (_dir, answer) = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy");
        assert!(
            answer
                .unwrap_err()
                .to_string()
                .ends_with("503 Service Unavailable: busy")
        );
    }
}

//! A server that answers what a test says, over plain HTTP.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::sleep};

use crate::source::kubernetes::Resource;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    chunks: Vec<String>,
    then: Then,
}

/// What comes after the last chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    End,
    Break,
    Stay,
}

impl Answer {
    pub fn list(version: u64, items: &[Value]) -> Self {
        let list = json!({ "metadata": { "resourceVersion": version.to_string() }, "items": items });
        Self::new(200, &[&list.to_string()], Then::End)
    }

    /// Events, and then silence.
    pub fn events(lines: &[&str]) -> Self {
        Self::new(200, lines, Then::Stay)
    }

    /// Events, and then the end.
    pub fn ended(lines: &[&str]) -> Self {
        Self::new(200, lines, Then::End)
    }

    /// The connection breaks.
    pub fn cut(chunks: &[&str]) -> Self {
        Self::new(200, chunks, Then::Break)
    }

    pub fn refused(status: &Value) -> Self {
        let code = status["code"]
            .as_u64()
            .and_then(|code| code.try_into().ok())
            .expect("a code");
        Self::new(code, &[&status.to_string()], Then::End)
    }

    fn new(status: u16, chunks: &[&str], then: Then) -> Self {
        let chunks = chunks.iter().map(ToString::to_string).collect();
        Self { status, chunks, then }
    }
}

#[derive(Default)]
struct Script {
    answers: BTreeMap<(Resource, &'static str), VecDeque<Answer>>,
    asked: BTreeMap<(Resource, &'static str), Vec<String>>,
    token: Option<String>,
}

/// The server.
pub struct Server {
    script: Arc<Mutex<Script>>,
    /// Counts how often all watches were ended.
    ends: watch::Sender<u32>,
    directory: TempDir,
    address: std::net::SocketAddr,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Shared {
    script: Arc<Mutex<Script>>,
    ends: watch::Receiver<u32>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let directory = tempfile::tempdir().expect("a directory");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
            "users": [{ "name": "test", "user": { "tokenFile": directory.path().join("token") } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        std::fs::write(directory.path().join("config"), kubeconfig.to_string()).expect("a file");
        std::fs::write(directory.path().join("token"), "none").expect("a file");
        let server = Self {
            script: Arc::default(),
            ends: watch::Sender::new(0),
            directory,
            address,
            task: Mutex::new(None),
        };
        server.serve(listener);
        server
    }

    fn serve(&self, listener: TcpListener) {
        let shared = Shared {
            script: self.script.clone(),
            ends: self.ends.subscribe(),
        };
        let router = Router::new().fallback(answer).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("serving") });
        *self.task.lock().expect("no panic") = Some(task);
    }

    /// Nobody listens any more, and all connections break.
    pub async fn stop(&self) {
        let task = self.task.lock().expect("no panic").take().expect("it runs");
        task.abort();
        assert!(task.await.is_err());
        self.end_watches();
    }

    pub async fn restart(&self) {
        self.serve(TcpListener::bind(self.address).await.expect("the same port"));
    }

    pub fn end_watches(&self) {
        self.ends.send_modify(|ends| *ends += 1);
    }

    /// The next list is answered like this; the last answer is given again and again.
    pub fn list(&self, resource: Resource, answer: Answer) {
        let mut script = self.script.lock().expect("no panic");
        script
            .answers
            .entry((resource, "list"))
            .or_default()
            .push_back(answer);
    }

    /// As [`Self::list`], before all others.
    pub fn list_first(&self, resource: Resource, answer: Answer) {
        let mut script = self.script.lock().expect("no panic");
        script
            .answers
            .entry((resource, "list"))
            .or_default()
            .push_front(answer);
    }

    /// The next watch is answered like this; one more is silent.
    pub fn watch(&self, resource: Resource, answer: Answer) {
        let mut script = self.script.lock().expect("no panic");
        script
            .answers
            .entry((resource, "watch"))
            .or_default()
            .push_back(answer);
    }

    /// Whoever has another token is refused.
    pub fn demand(&self, token: &str) {
        self.script.lock().expect("no panic").token = Some(token.to_owned());
    }

    pub fn write_token(&self, token: &str) {
        std::fs::write(self.directory.path().join("token"), token).expect("a file");
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// The queries of all requests.
    pub fn asked(&self, resource: Resource, verb: &'static str) -> Vec<String> {
        let script = self.script.lock().expect("no panic");
        script.asked.get(&(resource, verb)).cloned().unwrap_or_default()
    }

    /// The same, once there are so many.
    pub async fn wait(&self, resource: Resource, verb: &'static str, count: usize) -> Vec<String> {
        for _ in 0..1_000 {
            let asked = self.asked(resource, verb);
            if asked.len() >= count {
                return asked;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("only {:?}", self.asked(resource, verb));
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let name = Path::new(request.uri().path())
        .file_name()
        .and_then(|name| name.to_str());
    let resource = Resource::ALL
        .into_iter()
        .find(|it| Some(it.name()) == name)
        .expect("a resource");
    let query = request.uri().query().unwrap_or_default().to_owned();
    let verb = if query.contains("watch=1") {
        "watch"
    } else {
        "list"
    };
    let answer = {
        let mut script = shared.script.lock().expect("no panic");
        script.asked.entry((resource, verb)).or_default().push(query);
        if script
            .token
            .as_ref()
            .is_some_and(|token| !has(request.headers(), token))
        {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let answers = script.answers.entry((resource, verb)).or_default();
        match (verb, answers.len()) {
            ("list", 1) => answers[0].clone(),
            _ => answers.pop_front().unwrap_or_else(|| Answer::events(&[])),
        }
    };
    let mut ends = shared.ends.clone();
    ends.mark_unchanged();
    let then = answer.then;
    let rest = stream::once(async move {
        match then {
            Then::End => None,
            Then::Break => Some(Err(std::io::Error::other("broken"))),
            Then::Stay => {
                let _ = ends.changed().await;
                None
            }
        }
    });
    let chunks = answer.chunks.into_iter().map(Ok);
    let body = stream::iter(chunks).chain(rest.filter_map(std::future::ready));
    let status = StatusCode::from_u16(answer.status).expect("a status");
    // Each request on a connection of its own, so that none outlives the server.
    (status, [(header::CONNECTION, "close")], Body::from_stream(body)).into_response()
}

fn has(headers: &HeaderMap, token: &str) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == &format!("Bearer {token}"))
}

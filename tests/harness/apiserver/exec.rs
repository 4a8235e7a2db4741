//! `pods/exec`: a command's input, output and end over WebSocket, each message with its channel in the first byte
//! (`v4.channel.k8s.io`; in `v5.channel.k8s.io` the client can close its end of a channel).
//!
//! As under containerd: when the connection breaks off, the command's input ends and its output is closed, but it is not
//! killed.

use std::fmt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::answer::Body;
use super::failure::{Answer, Failure};
use super::route::Target;
use super::shared::Shared;
use super::write;

/// Protocols the server of 1.30 and later takes, the best first. 1.28 takes the second alone.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// In v5, before the number of a channel that is closed.
const CLOSE: u8 = 255;
/// Bytes of a message, as the real server copies them.
const PIECE: usize = 32 << 10;

/// A command that somebody wants to be run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exec {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

type Run = dyn Fn(&Exec) -> Result<Command, String> + Send + Sync;

/// What makes commands of what is asked for.
#[derive(Clone, Default)]
pub struct Runner(Option<Arc<Run>>);

impl Runner {
    /// Made by this.
    pub fn new(run: impl Fn(&Exec) -> Result<Command, String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(run)))
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Runner").field(&self.0.is_some()).finish()
    }
}

/// Takes the connection out of HTTP, and runs the command over it.
pub fn open(shared: &Arc<Shared>, target: &Target, head: &mut Parts) -> Answer<Response<Body>> {
    write::find(&shared.store(), target)?;
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let text = |name: HeaderName| text(&head.headers, name);
    let key = text(header::SEC_WEBSOCKET_KEY);
    let (Some(upgrade), Some(key)) = (upgrade, key) else {
        return Err(Failure::bad_request("Upgrade request required"));
    };
    let offered = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let mut offered = offered.split(',').map(str::trim);
    let Some(protocol) = PROTOCOLS
        .into_iter()
        .find(|known| offered.clone().any(|name| name == *known))
    else {
        return Err(Failure::bad_request(format!(
            "no protocol of {PROTOCOLS:?} among {:?}",
            offered.next()
        )));
    };
    let exec = wanted(target, head.uri.query().unwrap_or_default());
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = derive_accept_key(key.as_bytes()).parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        converse(&shared, &exec, socket).await;
    });
    Ok(response)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn wanted(target: &Target, query: &str) -> Exec {
    let all = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect::<Vec<_>>()
    };
    Exec {
        namespace: target.namespace.clone().unwrap_or_default(),
        pod: target.name.clone().unwrap_or_default(),
        container: all("container").concat(),
        command: all("command"),
    }
}

/// Says what the command says until it ended, or the connection did.
async fn converse(shared: &Arc<Shared>, exec: &Exec, socket: WebSocketStream<TokioIo<Upgraded>>) {
    let mut cuts = shared.cuts();
    let (mut to, mut from) = socket.split();
    // Tells the client that the command may be talked to.
    if to.send(message(STDOUT, &[])).await.is_err() {
        return;
    }
    let mut child = match start(shared, exec) {
        Ok(child) => child,
        Err(why) => {
            let why = format!("Internal error occurred: error executing command in container: {why}");
            let status = json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": why, "code": 500});
            let _ = to.send(message(ERROR, status.to_string().as_bytes())).await;
            let _ = to.close().await;
            return;
        }
    };
    let mut stdin = child.stdin.take();
    let (sender, mut pieces) = mpsc::channel(1);
    forward(STDOUT, child.stdout.take(), sender.clone());
    forward(STDERR, child.stderr.take(), sender);
    loop {
        tokio::select! {
            piece = pieces.recv() => {
                let Some(piece) = piece else {
                    // All it said was told.
                    let code = child.wait().await.ok().and_then(|status| status.code());
                    let last = ended(code.unwrap_or(137)).to_string();
                    let _ = to.send(message(ERROR, last.as_bytes())).await;
                    let _ = to.close().await;
                    return;
                };
                if to.send(piece).await.is_err() {
                    break;
                }
            }
            told = from.next() => match told {
                Some(Ok(Message::Binary(bytes))) => hear(&bytes, &mut stdin).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
            _ = cuts.changed() => break,
        }
    }
    drop((stdin, pieces));
    let _ = child.wait().await;
}

fn start(shared: &Shared, exec: &Exec) -> Result<Child, String> {
    let Runner(Some(run)) = shared.runner().clone() else {
        return Err("nothing runs in this pod".into());
    };
    let mut command = tokio::process::Command::from(run(exec)?);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // When the server ends: nothing is left behind.
    command
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())
}

async fn hear(bytes: &[u8], stdin: &mut Option<ChildStdin>) {
    match bytes {
        [CLOSE, STDIN] => drop(stdin.take()),
        [STDIN, data @ ..] => {
            if let Some(pipe) = stdin
                && pipe.write_all(data).await.is_err()
            {
                *stdin = None;
            }
        }
        _ => {}
    }
}

/// Sends what a pipe brings; the pipe is closed when nobody wants it any more.
fn forward(
    channel: u8,
    pipe: Option<impl AsyncRead + Unpin + Send + 'static>,
    sender: mpsc::Sender<Message>,
) {
    let Some(mut pipe) = pipe else { return };
    tokio::spawn(async move {
        let mut piece = vec![0; PIECE];
        loop {
            let read = tokio::select! {
                read = pipe.read(&mut piece) => read,
                () = sender.closed() => return,
            };
            match read {
                Ok(length) if length > 0 => {
                    if sender.send(message(channel, &piece[..length])).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary(Bytes::from([&[channel], bytes].concat()))
}

/// The last word, as `k8s.io/kubernetes/pkg/kubelet` has it.
fn ended(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

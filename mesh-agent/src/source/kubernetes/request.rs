//! Requests, and answers that come in as long as they take.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use http::{Method, Request, Response, header, request::Builder};
use http_body_util::{BodyExt, Collected, Limited};
use kube::{
    Client,
    client::Body,
    core::{Status, response::StatusDetails},
};
use tokio::time::timeout;
use tokio_util::io::StreamReader;

use super::failure::Failure;
use crate::causes::reasons;

/// What the agent calls itself.
const USER_AGENT: &str = concat!("mesh-agent/", env!("CARGO_PKG_VERSION"));
/// An answer has to begin within this time.
const ANSWER: Duration = Duration::from_mins(1);
/// The most that is read of an answer that says no.
const MOST_OF_A_REFUSAL: usize = 64 << 10;
/// The most that is read of an object that was written; API servers take objects of up to three megabytes.
const MOST_OF_AN_OBJECT: usize = 4 << 20;

/// The body of an answer, as it comes in.
pub type Answer = StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>;

/// Sends a GET; the answer's body has to bring something every `patience`.
///
/// # Errors
/// Where there is no answer, or it is no.
pub async fn get(client: &Client, path: &str, patience: Duration) -> Result<Answer, Failure> {
    let answer = send(client, Request::get(path), Body::empty()).await?;
    let chunks = answer.into_body().into_data_stream();
    let patient = futures_util::stream::unfold(chunks, move |mut chunks| async move {
        let chunk = match timeout(patience, chunks.next()).await {
            Ok(chunk) => chunk?.map_err(|error| io::Error::other(reasons(&error))),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        Some((chunk, chunks))
    });
    Ok(StreamReader::new(patient.boxed()))
}

/// Sends a body; gives that of the answer.
///
/// # Errors
/// Where there is no answer, or it is no.
pub async fn write(
    client: &Client,
    method: Method,
    path: &str,
    media_type: &str,
    body: Vec<u8>,
) -> Result<Bytes, Failure> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::CONTENT_TYPE, media_type);
    let answer = send(client, request, body.into()).await?;
    let body = Limited::new(answer.into_body(), MOST_OF_AN_OBJECT).collect();
    match timeout(ANSWER, body).await {
        Ok(body) => body
            .map(Collected::to_bytes)
            .map_err(|error| Failure::Cut(error.to_string())),
        Err(_) => Err(Failure::Silent(ANSWER)),
    }
}

/// Sends a request, and waits until an answer begins that says yes.
async fn send(client: &Client, request: Builder, body: Body) -> Result<Response<Body>, Failure> {
    let request = request
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .body(body)
        .map_err(|error| Failure::Unreachable(error.to_string()))?;
    let answer = match timeout(ANSWER, client.send(request)).await {
        Ok(answer) => answer.map_err(|error| Failure::Unreachable(reasons(&error)))?,
        Err(_) => {
            return Err(Failure::Unreachable(format!(
                "no answer within {} s",
                ANSWER.as_secs()
            )));
        }
    };
    if !answer.status().is_success() {
        return Err(Failure::Refused(Box::new(refusal(answer).await)));
    }
    Ok(answer)
}

/// What an answer that says no says.
async fn refusal(answer: Response<Body>) -> Status {
    let (code, headers) = (answer.status(), answer.headers());
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|value| value.parse().ok());
    let body = timeout(
        ANSWER,
        Limited::new(answer.into_body(), MOST_OF_A_REFUSAL).collect(),
    )
    .await;
    let body = body
        .ok()
        .and_then(Result::ok)
        .map(Collected::to_bytes)
        .unwrap_or_default();
    let mut status: Status = serde_json::from_slice(&body).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(&body).trim().to_owned(),
        reason: code.canonical_reason().unwrap_or_default().to_owned(),
        ..Status::default()
    });
    status.code = code.as_u16();
    if let Some(seconds) = retry_after {
        let details = status.details.get_or_insert_with(|| StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        details.retry_after_seconds = seconds;
    }
    status
}

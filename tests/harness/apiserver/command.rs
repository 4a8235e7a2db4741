//! The handle by lines of text, for a server that is a process of its own.

use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiServer, Denial, Gone, Match};

/// A line, as JSON: `{"do": "cut"}`, `{"do": "refuse", "whom": {"verb": "list"}, "code": 429}`.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Command {
    Down,
    Up,
    Cut,
    TearWatches,
    ExpireWatches {
        how: Gone,
    },
    Refuse {
        #[serde(default)]
        whom: Match,
        code: u16,
        retry_after: Option<u64>,
        times: Option<usize>,
    },
    Delay {
        #[serde(default)]
        whom: Match,
        milliseconds: u64,
    },
    DuplicateEvents,
    HoldEvents {
        resource: String,
    },
    ReleaseEvents {
        resource: String,
    },
    ServeStale {
        version: u64,
    },
    Well,
    Compact,
    Window {
        changes: usize,
    },
    SkipTo {
        version: u64,
    },
    Restore {
        version: u64,
    },
    Bookmarks {
        milliseconds: u64,
    },
    Token {
        token: String,
    },
    Deny {
        verb: Option<String>,
        resource: Option<String>,
        namespace: Option<String>,
    },
    AllowAll,
    Put {
        object: Value,
    },
    Remove {
        resource: String,
        #[serde(default)]
        namespace: String,
        name: String,
    },
    Version,
    Requests,
    Count {
        verb: String,
        resource: String,
    },
    ForgetRequests,
}

/// Does what a line says; the answer is a line of JSON: `{"ok": ...}` or `{"error": "..."}`.
#[must_use]
pub fn run(server: &ApiServer, line: &str) -> String {
    let parsed = serde_json::from_str(line).map_err(Into::into);
    let answer = match parsed.and_then(|command| execute(server, command)) {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": format!("{error:#}") }),
    };
    answer.to_string()
}

fn execute(server: &ApiServer, command: Command) -> Result<Value> {
    match command {
        Command::Down => server.down()?,
        Command::Up => server.up()?,
        Command::Cut => server.cut(),
        Command::TearWatches => server.tear_watches(),
        Command::ExpireWatches { how } => server.expire_watches(how),
        Command::Refuse {
            whom,
            code,
            retry_after,
            times,
        } => server.refuse(whom, code, retry_after, times),
        Command::Delay { whom, milliseconds } => server.delay(whom, Duration::from_millis(milliseconds)),
        Command::DuplicateEvents => server.duplicate_events(),
        Command::HoldEvents { resource } => server.hold_events(&resource),
        Command::ReleaseEvents { resource } => server.release_events(&resource),
        Command::ServeStale { version } => server.serve_stale(version),
        Command::Well => server.well(),
        Command::Compact => server.compact(),
        Command::Window { changes } => server.set_window(changes),
        Command::SkipTo { version } => server.skip_to(version),
        Command::Restore { version } => server.restore(version)?,
        Command::Bookmarks { milliseconds } => server.set_bookmarks(Duration::from_millis(milliseconds)),
        Command::Token { token } => server.set_token(&token)?,
        Command::Deny {
            verb,
            resource,
            namespace,
        } => server.deny(Denial {
            verb,
            resource,
            namespace,
        }),
        Command::AllowAll => server.allow_all(),
        Command::Put { object } => return Ok(server.put(&object)?.into()),
        Command::Remove {
            resource,
            namespace,
            name,
        } => return Ok(server.remove(&resource, &namespace, &name)?.into()),
        Command::Version => return Ok(server.version().into()),
        Command::Requests => return Ok(server.requests().iter().map(super::log::Request::json).collect()),
        Command::Count { verb, resource } => return Ok(server.count(&verb, &resource).into()),
        Command::ForgetRequests => server.forget_requests(),
    }
    Ok(Value::Null)
}

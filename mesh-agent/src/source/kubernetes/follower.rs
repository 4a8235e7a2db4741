//! Follows one resource: asks what the reflector says, and tells what changed.

use std::io::{self, BufReader};
use std::mem::take;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
    time::sleep,
};
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    io::SyncIoBridge,
};

use super::{
    Access, Known, Options, Problem, Resource, Version,
    access::Connection,
    failure::Failure,
    gather::{News, Step},
    health::Reports,
    line::Line,
    list, pause,
    reflector::{Ask, End, Reflector},
    request,
};
use crate::model::cluster::Event;
use crate::sys::heap;

/// A list has to go on within this time.
const LIST_PATIENCE: Duration = Duration::from_mins(1);
/// A watch without an event: servers send a bookmark every minute. One that is silent for longer may be of a server
/// that is gone without a word; another request tells.
const WATCH_PATIENCE: Duration = Duration::from_mins(3);
/// Longest line of a watch; API servers take objects of up to three megabytes.
const LONGEST_LINE: usize = 16 << 20;
/// Lists are read in pieces of this size.
const PIECE: usize = 64 << 10;

/// The verbs, as in rules of roles.
const LIST: &str = "list";
const WATCH: &str = "watch";

/// Follows one resource.
pub struct Follower {
    resource: Resource,
    node: String,
    access: Access,
    connection: Connection,
    reports: Reports,
    news: mpsc::Sender<News>,
    reflector: Reflector,
    known: Known,
    /// The problems that were last told.
    told: Vec<Problem>,
    /// Answers in a row that broke off, or ended, at once. After so many the beginning of one tells nothing.
    broken: u32,
    /// Whether the way to the server is looked for anew before the next request: what is read after a pause is newer.
    lost: bool,
}

/// Answers that break off happen; so many in a row are trouble.
const BREAKING: u32 = 3;

/// How long to wait: after that many failures in a row, and as long as the server wants.
type Wait = (u32, Option<Duration>);

impl Follower {
    /// One that begins from nothing.
    pub fn new(
        resource: Resource,
        options: &Options,
        connection: Connection,
        reports: Reports,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self {
            resource,
            node: options.node.clone(),
            access: options.access.clone(),
            connection,
            reports,
            news,
            reflector: Reflector::after(options.after.version(resource)),
            known: Known::default(),
            told: Vec::new(),
            broken: 0,
            lost: false,
        }
    }

    /// Follows for ever, or until nobody listens; begins within that time.
    pub async fn follow(mut self, within: Duration) {
        sleep(within.mul_f64(pause::roll())).await;
        while !self.news.is_closed() {
            if take(&mut self.lost) {
                self.reopen().await;
            }
            let (failures, retry_after) = match self.reflector.ask() {
                Ask::List(version) => self.list(&version).await,
                Ask::Watch(version) => self.watch(&version).await,
            };
            sleep(pause::after(failures, retry_after, pause::roll())).await;
        }
    }

    async fn list(&mut self, version: &Version) -> Wait {
        if self.reflector.has_listed() {
            tracing::info!(
                resource = self.resource.name(),
                version = version.0,
                "listing again"
            );
            self.reports.metrics.relisted(self.resource);
        }
        match self.try_list(version).await {
            Ok((listed, events)) => {
                if self.reflector.listed(listed) {
                    let resource = self.resource.name();
                    tracing::warn!(
                        resource,
                        "the API server's latest state is older than what was seen before"
                    );
                }
                self.answers();
                self.reports.listed(self.resource);
                self.reports.metrics.objects(self.resource, self.known.len());
                self.tell(events, Step::List).await;
                (0, None)
            }
            Err(failure) => {
                let failures = self.reflector.list_ended(failure.end(Duration::ZERO));
                self.failed(LIST, &failure, failures)
            }
        }
    }

    /// Takes in all objects; returns what that changes. Where it fails nothing is changed.
    async fn try_list(&mut self, version: &Version) -> Result<(Version, Vec<Event>), Failure> {
        let version = match version.0.as_str() {
            "" => String::new(),
            "0" => "resourceVersion=0".to_owned(),
            version => format!("resourceVersionMatch=NotOlderThan&resourceVersion={version}"),
        };
        let path = self.resource.path(&self.node) + &version;
        self.reports.metrics.asked(self.resource, LIST);
        let body = request::get(&self.connection.client, &path, LIST_PATIENCE).await?;
        let body = BufReader::with_capacity(PIECE, SyncIoBridge::new(body));
        let (resource, mut relist) = (self.resource, take(&mut self.known).relist());
        let read = spawn_blocking(move || {
            let read = list::read(body, |document| relist.take(resource.item(document)));
            // A piece of JSON takes many times what is kept of it.
            heap::trim();
            (relist, read)
        });
        let (relist, read) = match read.await.map_err(JoinError::try_into_panic) {
            Ok(read) => read,
            Err(Ok(panic)) => resume_unwind(panic),
            // The agent ends.
            Err(Err(_)) => std::future::pending().await,
        };
        match read {
            Ok(version) => {
                let (known, events) = relist.finish();
                self.known = known;
                Ok((version, events))
            }
            Err(error) => {
                self.known = relist.abort();
                Err(broken(&error.into(), LIST_PATIENCE))
            }
        }
    }

    async fn watch(&mut self, version: &Version) -> Wait {
        let started = Instant::now();
        match self.try_watch(version).await {
            Ok(()) => {
                let lived = started.elapsed();
                let failures = self.reflector.watch_ended(End::Done(lived));
                if failures > 0 {
                    self.broke(failures, "its watches end at once");
                }
                (failures, None)
            }
            Err(failure) => {
                let failures = self.reflector.watch_ended(failure.end(started.elapsed()));
                self.failed(WATCH, &failure, failures)
            }
        }
    }

    /// Takes in what happens, until the server ends it.
    async fn try_watch(&mut self, version: &Version) -> Result<(), Failure> {
        let path = format!(
            "{}watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
            self.resource.path(&self.node),
            version.0,
            pause::watch_seconds(pause::roll()),
        );
        self.reports.metrics.asked(self.resource, WATCH);
        let body = request::get(&self.connection.client, &path, WATCH_PATIENCE).await?;
        if self.broken < BREAKING {
            self.reports.answers(self.resource);
        }
        let mut lines = FramedRead::new(body, LinesCodec::new_with_max_length(LONGEST_LINE));
        while let Some(line) = lines.next().await {
            let text = line.map_err(|error| match error {
                LinesCodecError::Io(error) => broken(&error, WATCH_PATIENCE),
                LinesCodecError::MaxLineLengthExceeded => Failure::Cut(error.to_string()),
            })?;
            if !text.trim().is_empty() {
                let line =
                    Line::read(self.resource, &text).map_err(|error| Failure::Cut(error.to_string()))?;
                self.take(line).await?;
            }
        }
        Ok(())
    }

    /// Takes in what a line says.
    async fn take(&mut self, line: Line) -> Result<(), Failure> {
        if let Some(version) = line.version()
            && self.reflector.is_back(version)
        {
            return Err(Failure::SetBack(version.clone()));
        }
        let step = match line {
            Line::Bookmark(_) => Step::Bookmark,
            _ => Step::Event,
        };
        let (version, event) = match line {
            Line::Upsert(item) => (item.version.clone(), self.known.upsert(item)),
            Line::Delete(gone) => {
                let event = self.known.delete(&gone);
                (gone.version, event)
            }
            Line::Bookmark(version) => (version, None),
            Line::Error(status) => return Err(Failure::Refused(status)),
            Line::Other(what) => {
                tracing::debug!(
                    resource = self.resource.name(),
                    what,
                    "an event of an unknown type"
                );
                return Ok(());
            }
        };
        if self.broken > 0 {
            self.answers();
        }
        self.reflector.progress(version);
        self.reports.metrics.event(self.resource, self.known.len());
        self.tell(event.into_iter().collect(), step).await;
        Ok(())
    }

    /// Hands on what changed, and how far that is.
    async fn tell(&mut self, events: Vec<Event>, step: Step) {
        let problems = self.problems();
        let problems = (problems != self.told).then(|| {
            self.told.clone_from(&problems);
            problems
        });
        let news = News {
            resource: self.resource,
            events,
            problems,
            step,
            version: self.reflector.version().cloned().unwrap_or_default(),
        };
        // Where nobody listens any more there is nobody to tell.
        let _ = self.news.send(news).await;
    }

    fn problems(&self) -> Vec<Problem> {
        let lost = self.resource == Resource::Nodes && self.known.is_empty();
        let lost = lost.then(|| Problem::NoSuchNode(self.node.clone()));
        self.known.problems().cloned().chain(lost).collect()
    }

    /// The server answers as it should.
    fn answers(&mut self) {
        self.broken = 0;
        self.reports.answers(self.resource);
    }

    /// An answer was of no use, after that many failures of all kinds: once happens, again and again is trouble.
    fn broke(&mut self, failures: u32, why: &str) {
        self.broken = (self.broken + 1).min(failures);
        if self.broken >= BREAKING {
            self.reports.fails(self.resource, why);
        }
    }

    /// Tells of a failure.
    fn failed(&mut self, verb: &'static str, failure: &Failure, failures: u32) -> Wait {
        let why = failure.explain(verb, self.resource.full_name(), &self.connection.who);
        self.reports.failed(self.resource, verb, failure, &why);
        if failure.is_refusal() {
            self.broken = 0;
            self.reports.fails(self.resource, &why);
        } else {
            self.broke(failures, &why);
        }
        self.lost = failure.wants_new_access();
        (failures, failure.retry_after())
    }

    /// Reads again how the server is reached, and who we are to it.
    async fn reopen(&mut self) {
        match self.access.open().await {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::warn!(%error, "the way to the API server can't be read again"),
        }
    }
}

/// An answer that broke off, or stopped.
fn broken(error: &io::Error, patience: Duration) -> Failure {
    match error.kind() {
        io::ErrorKind::TimedOut => Failure::Silent(patience),
        _ => Failure::Cut(error.to_string()),
    }
}

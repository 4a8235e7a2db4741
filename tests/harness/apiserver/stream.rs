//! A watch as a body: lines as they come, until time is over or someone breaks it off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::failure::{Answer, Failure};
use super::faults::Gone;
use super::resource::Resource;
use super::shared::Shared;
use super::watch::{self, Event, Watcher};

/// The real server gives a watch 30 to 60 minutes.
const LONGEST: Duration = Duration::from_mins(45);
/// Before the end a watcher is told where it stands.
const BEFORE_THE_END: Duration = Duration::from_secs(2);
/// Bytes in a piece, about.
const PIECE: usize = 64 << 10;
/// Pieces a client may be behind before its watch waits.
const QUEUE: usize = 16;

/// How a watch is made.
#[derive(Debug)]
pub struct Options {
    /// Whether the client takes bookmarks.
    pub bookmarks: bool,
    /// How long it may last.
    pub timeout: Option<Duration>,
}

/// The body.
#[derive(Debug)]
pub struct Lines(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
    }
}

/// Starts a watch with these events.
pub fn open(
    shared: Arc<Shared>,
    resource: &'static Resource,
    watcher: Watcher,
    events: Vec<Event>,
    options: Options,
) -> Lines {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let torn = shared.faults().torn;
    let feed = Feed {
        shared,
        resource,
        watcher,
        sender,
        torn,
    };
    // An error is the client's going, or a break that was asked for: either way there is no more to do.
    tokio::spawn(feed.run(events, options));
    Lines(receiver)
}

/// The client is gone, or is to believe that the server is.
struct Over;

struct Feed {
    shared: Arc<Shared>,
    resource: &'static Resource,
    watcher: Watcher,
    sender: mpsc::Sender<io::Result<Bytes>>,
    torn: u64,
}

impl Feed {
    async fn run(mut self, events: Vec<Event>, options: Options) -> Result<(), Over> {
        let mut changes = self.shared.changes();
        let end = Instant::now() + options.timeout.unwrap_or(LONGEST);
        let mut mark = Instant::now() + self.shared.bookmarks();
        let mut last_mark = end.checked_sub(BEFORE_THE_END);
        self.write(&events).await?;
        loop {
            changes.mark_unchanged();
            while !self.held() {
                let more = match self.pull() {
                    Ok((events, more)) => {
                        self.write(&events).await?;
                        more
                    }
                    Err(failure) => return self.send(watch::error(&failure)).await,
                };
                if !more {
                    break;
                }
            }
            let next = if options.bookmarks {
                mark.min(last_mark.unwrap_or(end)).min(end)
            } else {
                end
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = self.sender.closed() => return Err(Over),
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if now >= end {
                        return Ok(());
                    }
                    if !self.held() {
                        self.send(watch::bookmark(self.resource, self.watcher.version())).await?;
                    }
                    if last_mark.is_some_and(|last| now >= last) {
                        last_mark = None;
                    }
                    mark = now + self.shared.bookmarks();
                }
            }
        }
    }

    fn held(&self) -> bool {
        let faults = self.shared.faults();
        faults.lagging || faults.held.contains(self.resource.plural)
    }

    fn pull(&mut self) -> Answer<(Vec<Event>, bool)> {
        if self.shared.faults().gone == Some(Gone::Event) {
            return Err(Failure::trouble(410, None));
        }
        self.watcher.pull(&self.shared.store())
    }

    async fn write(&mut self, events: &[Event]) -> Result<(), Over> {
        let (duplicates, torn) = {
            let faults = self.shared.faults();
            (faults.duplicates, faults.torn)
        };
        let mut piece = Vec::new();
        for event in events {
            let start = piece.len();
            event.write(&mut piece);
            if torn != self.torn {
                piece.truncate(start + (piece.len() - start) / 2);
                self.send(piece).await?;
                let _ = self.sender.send(Err(io::ErrorKind::ConnectionReset.into())).await;
                return Err(Over);
            }
            if duplicates {
                event.write(&mut piece);
            }
            if piece.len() >= PIECE {
                self.send(std::mem::take(&mut piece)).await?;
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.send(piece).await
    }

    async fn send(&self, piece: Vec<u8>) -> Result<(), Over> {
        self.shared.tell(piece.len());
        self.sender.send(Ok(piece.into())).await.map_err(|_| Over)
    }
}

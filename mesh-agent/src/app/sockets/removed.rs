//! Ends the connections that cannot go on, since their endpoint is gone ([`crate::model::ending`] tells which) or a policy
//! denies them by now: the kernel destroys their sockets, each in the network namespace of its pod.
//!
//! After a change every connection on record is looked at, and those from before the mesh; what changes meanwhile waits for the next look. A `connect()`
//! that was under way during a look is seen by one that comes later.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use mesh_common::flow::LiveFlow;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::{task::JoinHandle, time::sleep_until};

use self::pace::Pace;
use super::unseen::{self, Suspect, Unseen};
use crate::{
    app::engine::Engine,
    datapath::{
        listing::{self, ListingError},
        pins::Pins,
    },
    model::{
        ending::{Judge, Target, Why},
        policy::Passage,
    },
    pods::{
        removed::{self, Connection, Outcome, RemovedError},
        unobserved::Unobserved,
    },
    sys::sock_diag::DestroyError,
};

mod pace;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    protocol: &'static str,
    reason: &'static str,
}

/// Counts what was destroyed; copies count together.
#[derive(Clone, Debug, Default)]
pub struct Destroyed(Family<Labels, Counter>);

impl Destroyed {
    /// Names it.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "mesh_sockets_destroyed",
            "Sockets that were destroyed, since their endpoint is gone or a policy denies them, so that their owners learn it",
            self.0.clone(),
        );
    }
}

/// The connections on record, and what is none.
#[derive(Default)]
pub struct Records {
    /// By where they were sent.
    targets: HashMap<Target, Vec<Connection>>,
    /// By what policies ask.
    passages: HashMap<Passage, Vec<Connection>>,
    /// Those that no program saw begin.
    unseen: Vec<Unseen>,
}

/// Ends connections to endpoints that are gone.
pub struct Removed {
    pins: Pins,
    destroyed: Destroyed,
    pace: Pace,
    /// How many changes were seen; none yet where the agent has just started.
    changes: Option<u64>,
    /// Whether connections were listed before.
    listed: bool,
    work: Work,
    /// Why connections can't be listed now.
    unlisted: Option<String>,
    /// Why this kernel destroys no socket.
    unsupported: Option<String>,
}

/// What goes on beside the agent's loop, one thing at a time.
enum Work {
    Nothing,
    Listing(JoinHandle<Result<Records, ListingError>>),
    Destroying(JoinHandle<Outcome>),
}

/// What [`Removed::next`] comes with.
pub enum Step {
    /// It is time to look.
    Look,
    /// The connections on record, to be judged where the cluster is known.
    Judge(Result<Records, ListingError>),
    /// What came of it.
    Report(Outcome),
}

impl Removed {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(pins: Pins, destroyed: Destroyed) -> Self {
        Self {
            pins,
            destroyed,
            pace: Pace::new(Instant::now()),
            changes: None,
            listed: false,
            work: Work::Nothing,
            unlisted: None,
            unsupported: None,
        }
    }

    /// Why no connection is ended, if so.
    #[must_use]
    pub fn limit(&self) -> Option<String> {
        let why = self.unsupported.as_ref().or(self.unlisted.as_ref())?;
        Some(format!("connections to removed endpoints are not ended: {why}"))
    }

    /// Notes whether anything changed.
    pub fn follow(&mut self, engine: &Engine) {
        let before = self.changes.replace(engine.changes());
        if before != self.changes {
            self.pace.changed(Instant::now());
        }
    }

    /// There is something to look at that no change tells of.
    pub fn look_again(&mut self) {
        self.pace.changed(Instant::now());
    }

    /// Comes when there is something to do; may be dropped at any time.
    pub async fn next(&mut self) -> Step {
        let step = match &mut self.work {
            Work::Nothing => match self.pace.due().filter(|_| self.unsupported.is_none()) {
                Some(due) => {
                    sleep_until(due.into()).await;
                    return Step::Look;
                }
                None => std::future::pending().await,
            },
            Work::Listing(task) => task.await.map(Step::Judge),
            Work::Destroying(task) => task.await.map(Step::Report),
        };
        self.work = Work::Nothing;
        step.unwrap_or_else(|error| {
            tracing::error!(%error, "connections to removed endpoints");
            Step::Report(Outcome::default())
        })
    }

    /// Does what is to be done.
    pub fn step(&mut self, step: Step, engine: &Engine, unobserved: &Unobserved) {
        match step {
            Step::Look => {
                self.pace.begins(Instant::now());
                let pins = self.pins.clone();
                let suspects = unseen::suspects(engine, unobserved);
                let work = tokio::task::spawn_blocking(move || records(&pins, &suspects));
                self.work = Work::Listing(work);
            }
            Step::Judge(Ok(records)) => {
                self.unlisted = None;
                // The first look only shows whether it can be done: what the agent learns first may be an old view, of a
                // server or a watch that is behind. The next look is when all has settled, or something changes.
                if !std::mem::replace(&mut self.listed, true) {
                    return self.pace.ended(Instant::now());
                }
                let doomed = doomed(records, engine);
                if doomed.is_empty() {
                    return self.pace.ended(Instant::now());
                }
                let handles = engine.handles();
                let work = tokio::task::spawn_blocking(move || removed::destroy(doomed, &handles));
                self.work = Work::Destroying(work);
            }
            Step::Judge(Err(error)) => {
                let why = error.to_string();
                if self.unlisted.as_ref() != Some(&why) {
                    tracing::warn!(%error, "connections to removed endpoints are not ended");
                    self.unlisted = Some(why);
                }
                self.pace.ended(Instant::now());
            }
            Step::Report(outcome) => self.report(&outcome),
        }
    }

    fn report(&mut self, outcome: &Outcome) {
        for &(connection, why) in &outcome.destroyed {
            let (protocol, reason) = (connection.protocol.name(), why.name());
            let Connection { local, remote, .. } = connection;
            tracing::debug!(protocol, reason, %local, %remote, "socket destroyed");
            self.destroyed.0.get_or_create(&Labels { protocol, reason }).inc();
        }
        if !outcome.destroyed.is_empty() {
            let count = outcome.destroyed.len();
            tracing::info!(count, "connections that could not go on were ended");
        }
        let now = Instant::now();
        for error in &outcome.errors {
            if let RemovedError::Destroy(DestroyError::Unsupported(_)) = error {
                if self.unsupported.is_none() {
                    tracing::warn!(%error, "connections to removed endpoints are not ended");
                }
                self.unsupported = Some(error.to_string());
            } else {
                tracing::warn!(%error, "connections to removed endpoints go on");
                self.pace.failed(now);
            }
        }
        self.pace.ended(now);
    }
}

fn records(pins: &Pins, suspects: &[Suspect]) -> Result<Records, ListingError> {
    let mut records = Records::default();
    let flows = listing::read_all(pins)?;
    if !suspects.is_empty() {
        let recorded: HashSet<u64> = flows.iter().map(|flow| flow.sock.cookie).collect();
        records.unseen = unseen::list(suspects, &recorded);
    }
    for LiveFlow { sock, .. } in flows {
        if let Some(target) = Target::of(&sock) {
            let connection = Connection::of(target.protocol, &sock);
            records.targets.entry(target).or_default().push(connection);
        }
        if let Some(passage) = Passage::of(&sock) {
            let connection = Connection::of(passage.protocol, &sock);
            records.passages.entry(passage).or_default().push(connection);
        }
    }
    Ok(records)
}

fn doomed(records: Records, engine: &Engine) -> Vec<(Connection, Why)> {
    let unseen = unseen::denied(&records.unseen, engine);
    let mut judge = Judge::new(engine.cluster(), engine.ledger());
    let removed = records.targets.into_iter().filter_map(|(target, connections)| {
        let why = judge.why(&target)?;
        Some(connections.into_iter().map(move |connection| (connection, why)))
    });
    let denied = records.passages.into_iter().filter_map(|(passage, connections)| {
        let connections = engine.denies(&passage).then_some(connections)?;
        Some(
            connections
                .into_iter()
                .map(|connection| (connection, Why::Denied)),
        )
    });
    let mut doomed: Vec<_> = removed.flatten().collect();
    doomed.extend(denied.flatten());
    doomed.extend(unseen.into_iter().map(|connection| (connection, Why::Denied)));
    doomed
}

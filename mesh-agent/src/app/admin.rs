//! The admin interface: what only the agent knows, asked over a Unix socket.

pub mod policies;

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::StatusCode,
    routing::{get, post},
};
use futures_util::StreamExt;
use mesh_common::addr::socket_addr;
use serde::{Deserialize, Serialize};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc, oneshot,
};

use super::{
    acceleration,
    engine::Engine,
    following::Following,
    lock::{self, RunDir},
    policy::{self, PolicyState},
    readiness::Readiness,
    settings::Settings,
    sockets::Sockets,
    wire::Wire,
};
use crate::{
    model::{desired::ObjectName, ledger},
    source,
    telemetry::{denial::Verdict, flow::FlowRecord, task::Telemetry},
};

/// A question, and where its answer goes.
pub enum Ask {
    /// What is going on?
    Status(oneshot::Sender<Status>),
    /// What do the tables hold that they should not, and the other way round?
    Diff(oneshot::Sender<Result<Vec<Drift>, String>>),
    /// Which endpoints of a Service are not used, and why?
    Unused(ServiceQuery, oneshot::Sender<Vec<UnusedEndpoint>>),
    /// What is it with network policies?
    Policy(policies::Ask),
    /// Somebody watches the flows from now on.
    Watch(oneshot::Sender<()>),
    /// Switch acceleration off, or on again.
    Switch {
        /// Off.
        off: bool,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// How the agent is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Whether another agent waits for its end, to take over.
    pub awaited: bool,
    /// Where its objects come from.
    pub source: String,
    /// Why nothing comes from there now, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_trouble: Option<String>,
    /// What keeps it from being ready, each as `name: reason`.
    pub pending: Vec<String>,
    /// What is wrong with the objects.
    pub problems: Vec<String>,
    /// Pods of this node without a network namespace, with the reason.
    pub unassigned: Vec<String>,
    /// What found no room in a table.
    pub refusals: Vec<String>,
    /// How pods are known whose network namespace is not.
    pub pending_pods: String,
    /// Pods of which the mesh sees only a part, with the reason.
    pub partial: Vec<String>,
    /// What the agent can't do on this node, with the reason.
    pub limits: Vec<String>,
    /// How it is with network policies.
    pub policy: PolicyState,
}

/// An entry that is not what it should be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The table.
    pub table: String,
    /// The key.
    pub key: String,
    /// What should be there.
    pub expected: Option<String>,
    /// What is there.
    pub found: Option<String>,
}

/// A Service.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServiceQuery {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An endpoint that is not used now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnusedEndpoint {
    /// Id of the service port.
    pub service: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// The pod it is, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The reason.
    pub why: String,
}

/// Path of [`Status`].
pub const STATUS: &str = "/v1/status";
/// Path of the list of [`Drift`].
pub const DIFF: &str = "/v1/diff";

/// Path of the list of [`UnusedEndpoint`]; takes a [`ServiceQuery`].
pub const UNUSED: &str = "/v1/unused";
/// Path to POST to, with a [`Switch`] as query.
pub const ACCELERATION: &str = "/v1/acceleration";

/// Path of the [`Settings`].
pub const SETTINGS: &str = "/v1/settings";

/// Path of the flow records, one JSON object a line; takes a [`FlowQuery`].
pub const FLOWS: &str = "/v1/flows";

#[derive(Clone)]
struct Admin {
    asks: mpsc::Sender<Ask>,
    readiness: Readiness,
    telemetry: Telemetry,
    run_dir: PathBuf,
    settings: Arc<Settings>,
}

/// The interface of the agent that has this runtime directory.
pub fn router(
    asks: mpsc::Sender<Ask>,
    readiness: Readiness,
    telemetry: Telemetry,
    run_dir: &RunDir,
    settings: Settings,
) -> Router {
    let admin = Admin {
        asks,
        readiness,
        telemetry,
        run_dir: run_dir.path().to_path_buf(),
        settings: Arc::new(settings),
    };
    Router::new()
        .route(STATUS, get(status))
        .route(DIFF, get(diff))
        .route(UNUSED, get(unused))
        .merge(policies::router())
        .route(FLOWS, get(flows))
        .route(
            SETTINGS,
            get(async |State(admin): State<Admin>| Json(admin.settings.now())),
        )
        .route(ACCELERATION, post(switch))
        .with_state(admin)
}

/// Answers a question, on the engine's own task.
pub fn answer(ask: Ask, engine: &mut Engine, wire: Option<&Wire>, sockets: &Sockets, following: &Following) {
    // Who asked may have gone meanwhile; then nobody misses the answer.
    match ask {
        Ask::Status(reply) => drop(reply.send(describe(engine, wire, sockets, following))),
        Ask::Diff(reply) => drop(reply.send(if following.is_complete() {
            compare(engine)
        } else {
            Err("what should be there is not known yet: see `meshctl status`".to_owned())
        })),
        Ask::Unused(query, reply) => drop(reply.send(left_out(engine, &query))),
        Ask::Policy(ask) => policies::answer(ask, engine),
        Ask::Watch(reply) => {
            engine.set_watched(true);
            let _watcher_is_gone = reply.send(());
        }
        Ask::Switch { off, reply } => {
            let done = acceleration::switch(engine, off).map_err(|error| error.to_string());
            let _asker_is_gone = reply.send(done);
        }
    }
}

async fn status(State(admin): State<Admin>) -> Result<Json<Status>, (StatusCode, String)> {
    let mut status = ask(&admin, Ask::Status).await?;
    status.pending = admin
        .readiness
        .pending()
        .iter()
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    status.awaited = lock::is_awaited(&admin.run_dir);
    Ok(Json(status))
}

async fn diff(State(admin): State<Admin>) -> Result<Json<Vec<Drift>>, (StatusCode, String)> {
    let drift = ask(&admin, Ask::Diff).await?;
    drift
        .map(Json)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))
}

async fn unused(
    State(admin): State<Admin>,
    Query(query): Query<ServiceQuery>,
) -> Result<Json<Vec<UnusedEndpoint>>, (StatusCode, String)> {
    ask(&admin, |reply| Ask::Unused(query, reply)).await.map(Json)
}

/// The switch of acceleration.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Switch {
    /// Everything goes by TCP, also on sockets that are enrolled.
    pub off: bool,
}

async fn switch(
    State(admin): State<Admin>,
    Query(Switch { off }): Query<Switch>,
) -> Result<(), (StatusCode, String)> {
    let done = ask(&admin, |reply| Ask::Switch { off, reply }).await?;
    done.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))
}

/// What a watcher of the flows wants.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct FlowQuery {
    /// Go on with what happens from now on.
    pub follow: bool,
    /// Begin with at most this many of the latest.
    pub last: usize,
    /// Only what policies refused, or would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

impl Default for FlowQuery {
    fn default() -> Self {
        Self {
            follow: false,
            last: 20,
            verdict: None,
        }
    }
}

/// The latest flows, and then, to a follower, those to come until it goes. A follower that is too slow misses
/// records and is told how many.
async fn flows(
    State(admin): State<Admin>,
    Query(query): Query<FlowQuery>,
) -> Result<Body, (StatusCode, String)> {
    let flows = admin.telemetry.flows(query.last, query.verdict).await;
    let (latest, watch) = flows.ok_or_else(ending)?;
    let watch = query.follow.then_some(watch);
    if query.follow {
        // The kernel tells of opened connections only while somebody watches.
        ask(&admin, Ask::Watch).await?;
    }
    let latest = latest.into_iter().map(|record| Ok(json_line(&record)));
    let wanted =
        move |record: &FlowRecord| query.verdict.is_none_or(|verdict| record.event == verdict.name());
    let coming = futures_util::stream::unfold(watch, move |watch| async move {
        let mut watch = watch?;
        let line = match next(&mut watch, wanted).await {
            Ok(record) => json_line(&record),
            Err(RecvError::Lagged(lost)) => format!("{lost} flows were missed: too many for this watcher\n"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<_, Infallible>(line), Some(watch)))
    });
    Ok(Body::from_stream(
        futures_util::stream::iter(latest).chain(coming),
    ))
}

/// The next record that is wanted.
async fn next(
    watch: &mut Receiver<Arc<FlowRecord>>,
    wanted: impl Fn(&FlowRecord) -> bool,
) -> Result<Arc<FlowRecord>, RecvError> {
    loop {
        let record = watch.recv().await?;
        if wanted(&record) {
            return Ok(record);
        }
    }
}

fn json_line(record: &FlowRecord) -> String {
    serde_json::to_string(record).unwrap_or_default() + "\n"
}

fn ending() -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending".to_owned())
}

async fn ask<T>(
    admin: &Admin,
    ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Result<T, (StatusCode, String)> {
    let (reply, answer) = oneshot::channel();
    admin.asks.send(ask(reply)).await.map_err(|_| ending())?;
    answer.await.map_err(|_| ending())
}

fn describe(engine: &Engine, wire: Option<&Wire>, sockets: &Sockets, following: &Following) -> Status {
    let source::State { place, trouble } = following.state();
    let objects = engine.cluster().problems().map(|problem| problem.to_string());
    let unassigned = engine.assignment().unassigned.iter();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        awaited: false,
        source: place,
        source_trouble: trouble.map(|why| why + following.consequence()),
        pending: Vec::new(),
        problems: following.problems().iter().cloned().chain(objects).collect(),
        unassigned: unassigned.map(|(pod, why)| format!("{pod}: {why}")).collect(),
        refusals: engine.ledger().refusals().map(ToString::to_string).collect(),
        pending_pods: engine.pending().describe(),
        partial: wire.map(Wire::partial).unwrap_or_default(),
        limits: sockets.limits(),
        policy: policy::state(&policy::View::of(engine)),
    }
}

fn left_out(engine: &Engine, query: &ServiceQuery) -> Vec<UnusedEndpoint> {
    let wanted = ObjectName::new(&*query.namespace, &*query.name);
    let ports = engine
        .ledger()
        .services()
        .filter(|(_, name, ..)| **name == wanted);
    let endpoints = ports.flat_map(|(service, name, key, _)| {
        let unused = engine.cluster().unused(name, key).into_iter();
        unused.map(move |(endpoint, why)| UnusedEndpoint {
            service,
            address: socket_addr(endpoint.addr, endpoint.port),
            pod: endpoint.pod.map(|pod| pod.to_string()),
            why: why.to_string(),
        })
    });
    endpoints.collect()
}

fn compare(engine: &mut Engine) -> Result<Vec<Drift>, String> {
    let observed = engine.tables().observe().map_err(|error| error.to_string())?;
    let mut drift = ledger::diff(&engine.ledger().expected(), &observed);
    let observed = engine.tables().observe_policy();
    let observed = observed.map_err(|error| error.to_string())?;
    let expected = engine.policies().enforcement().expected();
    drift.extend(crate::model::policy::drift(&expected, &observed));
    Ok(drift
        .into_iter()
        .map(|drift| Drift {
            table: drift.table.to_owned(),
            key: drift.key,
            expected: drift.expected,
            found: drift.found,
        })
        .collect())
}

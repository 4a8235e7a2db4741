//! What is asked about network policies.

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use tokio::sync::oneshot;

use super::Admin;
use crate::{
    app::{
        engine::Engine,
        policy::{
            self, ExplainQuery, Explained, PolicyDetail, PolicyListQuery, PolicyQuery, PolicyRow, Versions,
        },
    },
    datapath::tables::TableError,
    model::{desired::ObjectName, policy::explain::Kernel},
};

/// A question, and where its answer goes.
pub enum Ask {
    /// May this flow be opened, and why?
    Explain(ExplainQuery, oneshot::Sender<Answered<Explained>>),
    /// Which policies are there?
    List(PolicyListQuery, oneshot::Sender<Vec<PolicyRow>>),
    /// What is a policy, and what was made of it?
    Show(PolicyQuery, oneshot::Sender<Answered<PolicyDetail>>),
    /// Which version of a policy is in force?
    Versions(PolicyQuery, oneshot::Sender<Versions>),
}

/// An answer, or the status and the reason for which there is none.
pub type Answered<T> = Result<T, (StatusCode, String)>;

/// Path of an [`Explained`]; takes an [`ExplainQuery`].
pub const EXPLAIN: &str = "/v1/policy/explain";
/// Path of the list of [`PolicyRow`]; takes a [`PolicyListQuery`].
pub const POLICIES: &str = "/v1/policies";
/// Path of a [`PolicyDetail`]; takes a [`PolicyQuery`].
pub const POLICY: &str = "/v1/policy";
/// Path of the [`Versions`] of a policy; takes a [`PolicyQuery`].
pub const POLICY_VERSIONS: &str = "/v1/policy/versions";

pub(super) fn router() -> Router<Admin> {
    Router::new()
        .route(EXPLAIN, get(explain))
        .route(POLICIES, get(policies))
        .route(POLICY, get(policy))
        .route(POLICY_VERSIONS, get(policy_versions))
}

/// Answers a question, on the engine's own task.
pub(super) fn answer(ask: Ask, engine: &mut Engine) {
    // Who asked may have gone meanwhile; then nobody misses the answer.
    match ask {
        Ask::Explain(query, reply) => drop(reply.send(explained(engine, &query))),
        Ask::List(query, reply) => {
            drop(reply.send(policy::list(&policy::View::of(engine), &query.namespace)));
        }
        Ask::Show(query, reply) => drop(reply.send(shown(engine, &query))),
        Ask::Versions(query, reply) => {
            let name = ObjectName::new(query.namespace, query.name);
            let _asker_is_gone = reply.send(policy::versions(engine, &name));
        }
    }
}

async fn ask<T>(admin: &Admin, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Answered<T> {
    super::ask(admin, |reply| super::Ask::Policy(ask(reply))).await
}

async fn explain(State(admin): State<Admin>, Query(query): Query<ExplainQuery>) -> Answered<Json<Explained>> {
    ask(&admin, |reply| Ask::Explain(query, reply)).await?.map(Json)
}

async fn policies(
    State(admin): State<Admin>,
    Query(query): Query<PolicyListQuery>,
) -> Answered<Json<Vec<PolicyRow>>> {
    ask(&admin, |reply| Ask::List(query, reply)).await.map(Json)
}

async fn policy(
    State(admin): State<Admin>,
    Query(query): Query<PolicyQuery>,
) -> Answered<Json<PolicyDetail>> {
    ask(&admin, |reply| Ask::Show(query, reply)).await?.map(Json)
}

async fn policy_versions(
    State(admin): State<Admin>,
    Query(query): Query<PolicyQuery>,
) -> Answered<Json<Versions>> {
    ask(&admin, |reply| Ask::Versions(query, reply)).await.map(Json)
}

fn explained(engine: &mut Engine, query: &ExplainQuery) -> Answered<Explained> {
    let kernel = kernel(engine)?;
    let explained = policy::explain(&policy::View::of(engine), &kernel, query);
    explained.map_err(|why| (StatusCode::NOT_FOUND, why))
}

fn shown(engine: &mut Engine, query: &PolicyQuery) -> Answered<PolicyDetail> {
    let kernel = kernel(engine)?;
    let name = ObjectName::new(&*query.namespace, &*query.name);
    let shown = policy::show(&policy::View::of(engine), &kernel, &name);
    shown.ok_or_else(|| {
        let why = format!("policy {name} is not known to the agent: see `meshctl policy list`");
        (StatusCode::NOT_FOUND, why)
    })
}

/// What the tables of policies hold now.
fn kernel(engine: &mut Engine) -> Answered<Kernel> {
    let observed = engine.tables().observe_policy();
    let unreadable = |error: TableError| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    observed.map(Kernel::from).map_err(unreadable)
}

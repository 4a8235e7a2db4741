//! What operators see of network policies: the questions of `meshctl policy`, and their answers. Everything here is made
//! from a [`PolicyView`], so that it needs neither a kernel nor an engine.

mod end;
mod explained;
mod listed;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod wired;

use serde::{Deserialize, Serialize};

pub use self::{
    end::{Destination, From, WrongEnd},
    explained::{
        EndAnswer, Exempt, Explained, Fail, FlowAnswer, Judge, KernelAnswer, Looked, Outcome, PolicyAnswer,
        RuleAnswer, Says, SideAnswer, Sight, explain,
    },
    listed::{PolicyDetail, PolicyRow, RuleText, SelectedPod, SetRow, list, show},
    state::{PolicyState, state},
    view::{InForce, PolicyView, Standing},
    wired::{Versions, View, sets, versions},
};

/// May this flow be opened?
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainQuery {
    /// Who opens it: `NS/POD` or an address.
    pub from: String,
    /// Who is asked: `NS/POD:PORT`, `ADDR:PORT` or `service/NS/NAME:PORT`.
    pub to: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A policy.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PolicyQuery {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Whose policies.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct PolicyListQuery {
    /// Those of this namespace; empty for all.
    pub namespace: String,
}

//! What the kernel tables hold, whose it is, and the writes that lead from there to what is desired.
//!
//! The one place that gives out ids and slots. A program may be preempted between any two of its reads, so
//! three rules keep it from ever reaching another service's backend:
//!
//! - What is pointed at is written before what points at it. Slots in use are never changed: new endpoints
//!   get a new region, and one write of `SERVICE_INFO` switches to it.
//! - Whatever is no longer pointed at rests for [`REST`] before it is used for something else.
//! - After a restart the tables of the previous agent are taken over as they are. What contradicts itself in
//!   them is not believed, and what they do not say (which ids were freed a moment ago) is assumed.
//!
//! Time is handed in: that of `CLOCK_MONOTONIC`, which is the programs' clock, too.

mod adopt;
mod buddy;
mod capacity;
mod claims;
mod draft;
pub(in crate::model) mod drift;
mod endpoints;
mod expected;
mod found;
mod frontends;
mod ids;
mod inspect;
mod intern;
mod plan;
mod pods;
mod port;
mod refusal;
mod refused;
mod regions;
mod retry;
mod service;
mod services;
mod stage;
#[cfg(test)]
mod tests;
mod workload;
mod workloads;

use std::time::Duration;

pub use capacity::{Capacity, Table};
pub use drift::{Drift, diff};
pub use plan::Plan;
pub use refusal::{Object, Part, Reason, Refusal};

use endpoints::Endpoints;
use refused::Refused;
use regions::Regions;
use services::Services;
use workloads::Workloads;

/// How long an id or a region is left alone after its last use: longer than any program can be preempted
/// between two reads of one connect.
pub const REST: Duration = Duration::from_secs(10);

/// The state of the kernel tables with all its planned writes carried out.
///
/// The caller carries out the writes of a plan in order, each exactly once. When one fails, it throws the
/// ledger away and takes what the tables hold then ([`Ledger::readopt`]).
#[derive(Clone, Debug)]
pub struct Ledger {
    capacity: Capacity,
    regions: Regions,
    endpoints: Endpoints,
    services: Services,
    workloads: Workloads,
    refused: Refused,
}

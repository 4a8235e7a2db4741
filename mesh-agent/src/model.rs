//! What the kernel should hold, as pure functions of what Kubernetes says. No tokio, kube or aya in here.

pub mod cluster;
pub mod desired;
pub mod ending;
pub(crate) mod groups;
pub mod ledger;
pub mod maglev;
pub mod notice;
pub mod object;
pub mod op;
pub mod policy;
pub mod stale;

//! Who may talk to whom, as pure functions of pods and network policies.
//!
//! The same question is answered twice: by [`mod@reference`], which reads the policies as the API's documentation says and
//! knows no tables, and by [`tables`], which makes what the kernel looks things up in. Tests hold them equal.
//!
//! Beyond the API: a flow passes if both ends let it pass, each with the policies that select it; a pod reaches itself
//! and its node's own sockets reach every pod, whatever policies say. Pods in the network of their node are no pods
//! here: no policy selects them, and to others they are the node's addresses.

mod begun;
mod class;
mod cluster;
mod drift;
pub mod enforcement;
pub mod explain;
mod facts;
mod index;
mod op;
mod passage;
pub mod ports;
mod question;
pub mod reference;
mod set;
pub mod sources;
pub mod tables;
#[cfg(test)]
mod tests;

pub use begun::{Begun, Ports, passages};
pub use class::Classes;
pub use cluster::{Cluster, NamedPort, Owner, Pod};
pub use drift::drift;
pub use enforcement::{Enforcement, Limits, Problem, SetInfo};
pub use facts::{NamespaceFacts, PodFacts};
pub use op::{Observed, Op};
pub use passage::Passage;
pub use question::{Exemption, Party, Question, RuleRef, Side, Source, Verdict};
pub use tables::Tables;

//! Runs the mesh on the real kernel, many times at once, without the host noticing.
//!
//! A test makes a [`Sandbox`]: a node with a network namespace and a bridge, a cgroup, a BPF
//! filesystem and directories of its own. It puts [`Pod`]s on the node, writes [`manifest`]s, starts
//! the [`Agent`] and makes [`traffic`] from inside the pods, in threads of the test process or in
//! programs.
//!
//! ```ignore
//! let sandbox = Sandbox::new("spread")?;
//! let client = sandbox.pod("client", &["10.0.1.2", "fd00::1:2"])?;
//! let server = sandbox.pod("server", &["10.0.1.3", "fd00::1:3"])?;
//! let _echo = server.serve_tcp("10.0.1.3:80".parse()?, "server")?;
//! let answer = client.run(|| traffic::ask_tcp("10.0.1.3:80".parse().unwrap()))?;
//! assert_eq!(answer.name, "server");
//! ```
//!
//! # How one process hosts many nodes
//!
//! The kernel's programs know a socket by the cgroup of the *thread* that made it and by its network
//! namespace. The whole test process therefore lives in a cgroup `mesh-test-<pid>`, and the cgroups of
//! sandboxes and pods below it are *threaded*: a single thread may join them ([`Place::run`]) while
//! its siblings stand elsewhere. Cgroup programs attached to a threaded cgroup run for exactly the
//! sockets of its threads, and of the processes started from it.
//!
//! # How nothing is left behind
//!
//! Dropping a [`Sandbox`] ends its programs and removes what it made. A killed test process cannot
//! drop: then its programs die with it (`PDEATHSIG`), and its [`janitor`](sweep) cleans the rest.

#![allow(
    clippy::missing_errors_doc,
    reason = "any error means one thing here: the test cannot go on"
)]

pub mod agent;
pub mod apiserver;
pub mod background;
mod binary;
pub mod by_hand;
pub mod census;
mod cgroup;
pub mod cluster;
pub mod craft;
pub mod crowd;
pub mod dice;
pub mod foreign;
mod http;
mod ip;
mod janitor;
pub mod kernel;
mod launch;
mod launcher;
mod lock;
mod log;
pub mod manifest;
mod manifests;
pub mod market;
pub mod metrics;
mod mounts;
mod netns;
mod node;
mod place;
mod pod;
pub mod policies;
pub mod probe;
mod process;
mod program;
pub mod require;
mod resolver;
mod running;
mod sandbox;
mod scale;
pub mod scene;
pub mod server;
pub mod shipped;
mod skip;
pub mod spread;
mod sys;
pub mod tables;
mod tenants;
pub mod traffic;
pub mod twins;
pub mod uring;
mod wait;

pub use agent::{Agent, AgentBuilder};
pub use binary::meshctl;
pub use census::{Census, Witness};
pub use http::Response;
pub use janitor::sweep;
pub use launch::Launch;
pub use manifests::Manifests;
pub use market::Market;
pub use place::Place;
pub use pod::Pod;
pub use program::Program;
pub use sandbox::Sandbox;
pub use scale::{is_long, scaled};
pub use skip::{Skipped, skip, skip_this};
pub use spread::Spread;
pub use wait::{eventually, patient, until};

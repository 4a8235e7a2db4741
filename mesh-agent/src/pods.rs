//! The pods of this node: which network namespace and which cgroup is whose, and what the host has for itself.

pub mod assign;
pub mod blocked;
pub mod discover;
pub mod host;
pub mod kubepods;
pub mod links;
pub mod look;
pub mod pending;
pub mod removed;
pub mod unobserved;
pub mod unseen;
pub mod watch;

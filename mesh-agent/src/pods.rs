//! The pods of this node: which network namespace is whose, and what the host has for itself.

pub mod assign;
pub mod blocked;
pub mod discover;
pub mod host;
pub mod links;
pub mod look;
pub mod watch;

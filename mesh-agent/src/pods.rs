//! The pods of this node: which network namespace is whose.

pub mod assign;
pub mod discover;
pub mod links;
pub mod look;
pub mod watch;

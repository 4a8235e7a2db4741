//! The kernel side as the agent sees it; the only home of aya.

pub mod hooks;
pub mod links;
pub mod loader;
mod object;
pub mod pins;
pub mod tables;
pub mod verify;

//! The agent as a whole: what is started, in which order, and what it tells about itself.

pub mod config;
pub mod lock;
pub mod mounts;
pub mod readiness;

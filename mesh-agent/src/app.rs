//! The agent as a whole: what is started, in which order, and what it tells about itself.

pub mod acceleration;
pub mod admin;
pub mod cleanup;
pub mod config;
pub mod engine;
pub mod following;
pub mod lock;
pub mod mounts;
pub mod names;
mod note;
pub mod pin_lock;
pub mod programs;
pub mod publish;
pub mod readiness;
pub mod run;
pub mod serve;
mod upkeep;
pub mod wire;

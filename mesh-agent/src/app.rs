//! The agent as a whole: what is started, in which order, and what it tells about itself.

pub mod acceleration;
pub mod admin;
pub mod broker;
pub mod claim;
pub mod cleanup;
pub mod config;
pub mod ending;
pub mod engine;
pub mod flock;
pub mod following;
pub mod handover;
pub mod lock;
pub mod mounts;
pub mod names;
mod note;
mod notices;
pub mod pin_lock;
pub mod programs;
pub mod publish;
pub mod readiness;
mod reports;
pub mod run;
pub mod serve;
pub mod sockets;
pub mod standby;
mod taint;
pub mod wire;

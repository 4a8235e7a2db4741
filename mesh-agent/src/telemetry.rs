//! What happened on the wire, told to people and machines: flow records and metrics.

pub mod accel;
pub mod accounting;
pub mod denial;
pub mod events;
pub mod flow;
pub mod metrics;
pub mod names;
pub mod pods;
pub mod rise;
pub mod tally;
pub mod task;
pub mod udp;
pub mod writes;

//! The kernel side as the agent sees it; the only home of aya.

pub mod accel;
mod btf;
pub mod census;
pub mod hooks;
pub mod inbound;
pub mod links;
pub mod listing;
pub mod loader;
pub mod marks;
mod object;
pub mod packets;
pub mod peers;
pub mod pins;
pub mod probe;
pub mod readings;
pub mod rivals;
pub mod splices;
pub mod tables;
pub mod verify;

pub use aya::Ebpf;

//! Decisions as pure functions, shared by the kernel programs and the tests on the host.

pub mod affinity;
pub mod enrol;
pub mod guard;
pub mod handshake;
pub mod icmp;
pub mod pick;
pub mod policy;
pub mod quota;
pub mod spoof;
pub mod tcp;
pub mod track;

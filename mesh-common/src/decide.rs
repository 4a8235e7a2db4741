//! Decisions as pure functions, shared by the kernel programs and the tests on the host.

pub mod affinity;
pub mod enrol;
pub mod guard;
pub mod handshake;
pub mod pick;
pub mod policy;
pub mod tcp;

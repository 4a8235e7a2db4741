//! The only home of `unsafe` in user space: what has no safe binding elsewhere.
#![allow(
    unsafe_code,
    reason = "each block here carries its own argument; everything above this module is safe"
)]

pub mod bpf;
pub mod clock;
pub mod heap;
pub mod netlink;
pub mod netns;
pub mod privilege;
pub mod raw;
pub mod route;
pub mod sock_diag;
pub mod wait;

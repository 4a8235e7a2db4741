//! The contract between the kernel programs and user space, and every decision that needs no kernel.
//!
//! Everything here is `no_std`, `repr(C)` without hidden padding (proved by `zerocopy`), and free of
//! pointers, so the same bytes mean the same thing on both sides of the `bpf(2)` boundary and on every
//! architecture of the same byte order.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "the verifier follows programs, not calls: what they use is inlined"
)]

pub mod abi;
pub mod accel;
pub mod addr;
pub mod config;
pub mod conntrack;
pub mod counter;
pub mod decide;
pub mod flow;
pub mod inbound;
mod layout;
pub mod names;
pub mod packet;
pub mod pending;
pub mod policy;
pub mod rules;
pub mod service;
pub mod sock;
pub mod tag;
pub mod workload;

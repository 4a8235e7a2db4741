//! The ledger against a kernel in memory, one write at a time.

mod adoption;
mod bench;
mod fixture;
mod kernel;
mod properties;
mod readers;
mod refusing;
mod services;
mod workloads;
mod world;

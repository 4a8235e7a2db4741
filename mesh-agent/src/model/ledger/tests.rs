//! The ledger against a kernel in memory, one write at a time.

mod adoption;
mod fixture;
mod kernel;
mod properties;
mod readers;
mod refusing;
mod scale;
mod services;
mod workloads;
mod world;

//! The double of the API server answers like the real one: held against recordings of 1.28, and driven by clients
//! that were not written for it.

mod access;
mod bench;
mod clients;
mod faults;
mod process;
mod replay;
mod scale;
mod verbs;
mod watches;

//! Where the objects come from.

pub mod manifests;

//! Real programs through the address of a service: they work as they do without the mesh, and the mesh's figures
//! agree with theirs.

mod carried;
mod databases;
mod mirror;
mod names;
mod output;
mod proxy;
mod streams;
mod tls;
mod web;

use anyhow::Result;
use harness::scene::Shop;
use harness::twins::Path;

/// By which path the pods' bytes go.
const PATH: Path = Path::Tcp;

/// The scene of all tests.
fn open(test_name: &str, backends: &[&str]) -> Result<Shop> {
    Shop::open_on(test_name, backends, PATH)
}

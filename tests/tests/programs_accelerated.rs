//! The tests of `programs`, word for word, with pods that ask for acceleration: real programs see no difference.
//! Left out is what a redirect cannot serve (a proxy that splices) and what has no connections (names).

#[path = "programs/carried.rs"]
mod carried;
#[path = "programs/databases.rs"]
mod databases;
#[path = "programs/mirror.rs"]
mod mirror;
#[path = "programs/output.rs"]
mod output;
#[path = "programs/streams.rs"]
mod streams;
#[path = "programs/tls.rs"]
mod tls;
#[path = "programs/web.rs"]
mod web;

use anyhow::Result;
use harness::scene::Shop;
use harness::twins::Path;

/// By which path the pods' bytes go.
const PATH: Path = Path::Redirect;

/// The scene of all tests.
fn open(test_name: &str, backends: &[&str]) -> Result<Shop> {
    Shop::open_on(test_name, backends, PATH)
}

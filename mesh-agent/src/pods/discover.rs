//! Looks at the handles of network namespaces in a directory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use mesh_common::addr::Addr;
use rustix::net::{AddressFamily, SocketType};

use super::links::{self, Link};
use crate::sys::netns;

/// A network namespace as found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Namespace {
    /// Its handle.
    pub path: PathBuf,
    /// Its cookie.
    pub cookie: u64,
    /// Addresses of its interfaces, without loopback and link-local ones.
    pub addresses: Vec<Addr>,
    /// Its interfaces.
    pub links: Vec<Link>,
}

/// Every network namespace with a handle in `dir`, each once, without the agent's own: that one belongs to
/// the host (or the agent's pod) and is never a mesh pod's.
///
/// Files that are no handle, or that vanish meanwhile, are passed over.
///
/// # Errors
/// Where the directory can't be read, or the kernel does not tell cookies.
pub fn scan(dir: &Path) -> io::Result<Vec<Namespace>> {
    let own = netns::cookie_of(probe_socket()?)?;
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match look(&path) {
            Ok(namespace) if namespace.cookie != own => {
                found.entry(namespace.cookie).or_insert(namespace);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "not a network namespace we can enter");
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Looks at one handle.
///
/// # Errors
/// Where it can't be opened or is no network namespace.
pub fn look(path: &Path) -> io::Result<Namespace> {
    let handle = File::open(path)?;
    let inside = || Ok((netns::cookie_of(probe_socket()?)?, addresses()?, links::list()?));
    let (cookie, addresses, links) = netns::run_in(&handle, inside)?;
    Ok(Namespace {
        path: path.to_path_buf(),
        cookie,
        addresses,
        links,
    })
}

/// Any socket will do to ask for its namespace.
fn probe_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?)
}

fn addresses() -> io::Result<Vec<Addr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    let mut addresses: Vec<Addr> = interfaces
        .filter_map(|interface| {
            let storage = interface.address?;
            let v4 = storage.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip())))
        })
        .filter(|ip| match ip {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        })
        .map(Addr::from)
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_handles_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("note.txt"), "no namespace").unwrap();
        assert_eq!(scan(dir.path()).unwrap(), []);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        assert_eq!(
            scan(Path::new("/nonexistent")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}

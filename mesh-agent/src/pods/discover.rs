//! Looks at the handles of network namespaces in a directory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use mesh_common::addr::Addr;

use super::links::{self, Link};
use crate::sys::netns::{self, Host};

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

/// Every network namespace with a handle in `dir`, each once, without the host's and the agent's own: those are
/// never a mesh pod's.
///
/// Files that are no handle, or that vanish meanwhile, are passed over.
///
/// # Errors
/// Where the directory can't be read.
pub fn scan(dir: &Path, host: &Host) -> io::Result<Vec<Namespace>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match look(&path, host) {
            Ok(namespace) => {
                found.entry(namespace.cookie).or_insert(namespace);
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "not the network namespace of a pod");
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Looks at one handle.
///
/// # Errors
/// Where it can't be opened, is no network namespace, or that of the host or of the agent.
pub fn look(path: &Path, host: &Host) -> io::Result<Namespace> {
    let handle = File::open(path)?;
    let inside = || Ok((netns::own_cookie()?, addresses()?, links::list()?));
    let (cookie, addresses, links) = netns::run_in(&handle, inside)?;
    if host.is_reserved(cookie) {
        return Err(io::Error::other("it is the host's or the agent's own"));
    }
    Ok(Namespace {
        path: path.to_path_buf(),
        cookie,
        addresses,
        links,
    })
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
        let host = Host::open(None).unwrap();
        assert_eq!(scan(dir.path(), &host).unwrap(), []);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let host = Host::open(None).unwrap();
        let error = scan(Path::new("/nonexistent"), &host).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

//! Sockets that were connected, or in their handshake, before their pod was in the mesh: no program saw them begin.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs::File,
    io,
    path::Path,
};

use crate::sys::{
    netns,
    sock_diag::{self, Family, Protocol, Socket, States},
};

/// Cookies of sockets that nobody observes, by the cookie of their network namespace. One that is in it, with or without
/// sockets, was looked at.
pub type Unobserved = BTreeMap<u64, BTreeSet<u64>>;

/// Looks at a network namespace for the first time; `recorded` tells the sockets that are on record at a moment between
/// its first and its last look.
///
/// # Errors
/// Where the namespace can't be entered or asked, and those of `recorded`.
pub fn first<E: From<io::Error>>(
    netns: u64,
    handle: &Path,
    recorded: impl FnOnce() -> Result<HashSet<u64>, E>,
) -> Result<BTreeSet<u64>, E> {
    let before = connected(netns, handle)?;
    if before.is_empty() {
        return Ok(before);
    }
    let recorded = recorded()?;
    // What closed meanwhile may have been on record.
    let after = connected(netns, handle)?;
    let unrecorded = before.intersection(&after).filter(|&it| !recorded.contains(it));
    Ok(unrecorded.copied().collect())
}

/// Which of these sockets are still there. One that has been connected anew may be on record, and stays counted.
///
/// # Errors
/// Where the namespace can't be entered or asked.
pub fn again(netns: u64, handle: &Path, sockets: &BTreeSet<u64>) -> io::Result<BTreeSet<u64>> {
    Ok(connected(netns, handle)?.intersection(sockets).copied().collect())
}

/// Cookies of the sockets in a network namespace that are connected or about to be; none where the handle is another's.
fn connected(netns: u64, handle: &Path) -> io::Result<BTreeSet<u64>> {
    netns::run_in(File::open(handle)?, || {
        let mut cookies = BTreeSet::new();
        if netns::own_cookie()? == netns {
            for family in [Family::V4, Family::V6] {
                let streams = sock_diag::list(family, Protocol::Tcp, OPEN)?;
                cookies.extend(streams.iter().filter(|it| is_open(it)).map(|it| it.cookie));
                let datagrams = sock_diag::list(family, Protocol::Udp, States::ESTABLISHED)?;
                cookies.extend(datagrams.iter().map(|it| it.cookie));
            }
        }
        Ok(cookies)
    })
}

/// States in which an application may have a TCP socket that talks to somebody.
const OPEN: States = States::ESTABLISHED
    .or(States::SYN_SENT)
    .or(States::SYN_RECV)
    .or(States::FIN_WAIT1)
    .or(States::FIN_WAIT2)
    .or(States::CLOSE_WAIT);

/// Not what the kernel keeps of a socket that was closed. A connection nobody has accepted yet has no owner either.
const fn is_open(socket: &Socket) -> bool {
    let closing = States::FIN_WAIT1.or(States::FIN_WAIT2);
    !(closing.contain(socket.state) && socket.is_orphan())
}

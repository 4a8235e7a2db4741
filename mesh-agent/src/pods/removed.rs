//! Destroys the sockets of connections that cannot go on, each in the network namespace of its pod.

use std::{collections::BTreeMap, fs::File, io, net::SocketAddr, path::PathBuf};

use mesh_common::{
    addr::{Protocol, socket_addr},
    sock::SockState,
};
use thiserror::Error;

use crate::{
    model::ending::Why,
    sys::{
        netns,
        sock_diag::{self, DestroyError, Family, Socket, States},
    },
};

/// A connection, as it is on record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connection {
    /// Protocol.
    pub protocol: Protocol,
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Cookie of the socket.
    pub cookie: u64,
    /// Its own end; not known over UDP.
    pub local: SocketAddr,
    /// The backend.
    pub remote: SocketAddr,
}

/// Why a connection goes on that should not.
#[derive(Debug, Error)]
pub enum RemovedError {
    /// Its namespace can't be entered or asked.
    #[error("the network namespace {path}: {source}")]
    Namespace {
        /// Its handle.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The kernel does not destroy its socket.
    #[error(transparent)]
    Destroy(#[from] DestroyError),
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The connections that were ended.
    pub destroyed: Vec<(Connection, Why)>,
    /// Why others were not.
    pub errors: Vec<RemovedError>,
}

impl Connection {
    /// From a socket's record.
    #[must_use]
    pub fn of(protocol: Protocol, sock: &SockState) -> Self {
        Self {
            protocol,
            netns: sock.netns,
            cookie: sock.cookie,
            local: socket_addr(sock.local_addr, sock.local_port),
            remote: socket_addr(sock.remote_addr, sock.remote_port),
        }
    }

    /// Whether this is the socket that is on record, and it is still connected to the same backend. Nobody would learn it
    /// of an orphan, one in `TIME_WAIT` included, and some kernels can't destroy those.
    fn is(&self, socket: &Socket) -> bool {
        socket.cookie == self.cookie && socket.ends().1 == self.remote && !socket.is_orphan()
    }
}

/// Destroys the sockets of these connections; takes the handles of network namespaces by their cookies. Where none is
/// known, the pod is no longer ours.
#[must_use]
pub fn destroy(doomed: Vec<(Connection, Why)>, handles: &BTreeMap<u64, PathBuf>) -> Outcome {
    let mut by_netns: BTreeMap<u64, Vec<(Connection, Why)>> = BTreeMap::new();
    for one in doomed {
        by_netns.entry(one.0.netns).or_default().push(one);
    }
    let mut outcome = Outcome::default();
    for (netns, doomed) in by_netns {
        let Some(path) = handles.get(&netns) else {
            continue;
        };
        let done = File::open(path).and_then(|handle| netns::run_in(handle, || inside(netns, &doomed)));
        match done {
            // The pod is gone, and its sockets with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => {}
            Ok(done) => {
                outcome.destroyed.extend(done.destroyed);
                outcome.errors.extend(done.errors);
            }
            Err(source) => outcome.errors.push(RemovedError::Namespace {
                path: path.clone(),
                source,
            }),
        }
    }
    outcome
}

/// The same within a network namespace, if it is the one that is meant.
fn inside(netns: u64, doomed: &[(Connection, Why)]) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    if netns::own_cookie()? != netns {
        return Ok(outcome);
    }
    let mut datagrams = None;
    for one in doomed {
        let connection = &one.0;
        let socket = match connection.protocol {
            Protocol::Tcp => stream(connection)?,
            Protocol::Udp => {
                let all = match &mut datagrams {
                    Some(all) => all,
                    none => none.insert(connected_over_udp()?),
                };
                all.iter().find(|socket| connection.is(socket)).copied()
            }
        };
        let Some(socket) = socket else {
            continue;
        };
        match sock_diag::destroy(&socket) {
            Ok(true) => outcome.destroyed.push(*one),
            Ok(false) => {}
            // It was closed just now, so that it can't be destroyed any more.
            Err(DestroyError::Unsupported(_))
                if connection.protocol == Protocol::Tcp && stream(connection)?.is_none() => {}
            Err(error) => outcome.errors.push(error.into()),
        }
    }
    Ok(outcome)
}

/// The socket of a TCP connection, if it is still the one on record.
fn stream(connection: &Connection) -> io::Result<Option<Socket>> {
    let found = sock_diag::find_tcp(connection.local, connection.remote)?;
    Ok(found.filter(|socket| connection.is(socket)))
}

fn connected_over_udp() -> io::Result<Vec<Socket>> {
    let mut all = sock_diag::list(Family::V4, sock_diag::Protocol::Udp, States::ESTABLISHED)?;
    all.extend(sock_diag::list(
        Family::V6,
        sock_diag::Protocol::Udp,
        States::ESTABLISHED,
    )?);
    Ok(all)
}

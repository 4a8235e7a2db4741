//! Connections from before their pod was in the mesh that its policies deny: nothing of them is on record, so they are
//! listed where they are.
//!
//! A connection to the address of a Service is judged by that address, as its packets are: no program translated it.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
};

use mesh_common::addr::Addr;

use crate::{
    app::engine::Engine,
    model::policy::{self, Begun},
    pods::{removed::Connection, unobserved::Unobserved, unseen},
};

/// A pod under policies that has such sockets.
pub struct Suspect {
    pod: u32,
    addresses: Vec<Addr>,
    netns: u64,
    handle: PathBuf,
    cookies: BTreeSet<u64>,
}

/// A connection that no program saw begin.
pub struct Unseen {
    pod: u32,
    connection: Connection,
    begun: Begun,
}

/// The pods whose network namespaces are to be looked at.
pub fn suspects(engine: &Engine, unobserved: &Unobserved) -> Vec<Suspect> {
    let assignment = engine.assignment();
    let suspects = assignment.cookies.iter().filter_map(|(key, &netns)| {
        let cookies = unobserved.get(&netns).filter(|cookies| !cookies.is_empty())?;
        let pod = engine.ledger().id_of(key)?;
        let isolated = engine.policies().enforcement().isolates(pod);
        isolated.then_some(())?;
        Some(Suspect {
            pod,
            addresses: engine.cluster().local_enrolled_pod(key)?.addresses,
            netns,
            handle: assignment.paths.get(key)?.clone(),
            cookies: cookies.clone(),
        })
    });
    suspects.collect()
}

/// Their connections to others that are not on record. Looks into network namespaces, which takes a while.
pub fn list(suspects: &[Suspect], recorded: &HashSet<u64>) -> Vec<Unseen> {
    let mut all = Vec::new();
    for suspect in suspects {
        let found = match unseen::list(suspect.netns, &suspect.handle, &suspect.cookies) {
            Ok(found) => found,
            // The pod may be going.
            Err(error) => {
                let handle = suspect.handle.display();
                tracing::debug!(%handle, %error, "connections from before the mesh are not judged");
                continue;
            }
        };
        let others = found.into_iter().filter(|(connection, _)| {
            let own = suspect.addresses.contains(&Addr::from(connection.remote.ip()));
            !own && !recorded.contains(&connection.cookie)
        });
        all.extend(others.map(|(connection, begun)| Unseen {
            pod: suspect.pod,
            connection,
            begun,
        }));
    }
    all
}

/// Those which no policy allows, whoever may have opened them. None with the host: some of its connections may be denied,
/// but which ones only their packets tell.
pub fn denied(unseen: &[Unseen], engine: &Engine) -> Vec<Connection> {
    let denied = unseen.iter().filter(|it| {
        let Connection {
            protocol,
            local,
            remote,
            ..
        } = it.connection;
        let asked = policy::passages(it.pod, protocol, local, remote, it.begun);
        let with_host = engine.cluster().is_host_address(&remote.ip().into());
        !with_host && !asked.is_empty() && asked.iter().all(|passage| engine.denies(passage))
    });
    denied.map(|it| it.connection).collect()
}

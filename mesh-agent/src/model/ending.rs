//! Which connections to a backend cannot go on, and are to be destroyed so that their clients learn it at once.
//!
//! A UDP client never learns by itself that nobody is there, so its socket goes as soon as the endpoint neither is
//! ready nor serves. A TCP connection is let be as long as its pod is there: an endpoint that leaves its Service
//! still finishes what it began. Where no pod is known to be behind an endpoint, nobody can tell that it is gone.

use std::collections::BTreeMap;

use mesh_common::addr::{Addr, Port, Protocol};

use super::desired::PodKey;

/// Where a backend listens.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Listener {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: Port,
    /// Protocol.
    pub protocol: Protocol,
}

/// What is known of a backend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct State {
    /// Whether it is ready or serving.
    pub serves: bool,
    /// The pod behind it, where known.
    pub pod: Option<PodKey>,
}

/// The backends of one Service.
pub type Backends = BTreeMap<Listener, State>;

/// Connections that cannot go on: those of one Service that are on record against this backend. A socket of which no
/// record says so (a pod dialled directly, another Service with the same backend) is never meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ending {
    /// The backend.
    pub listener: Listener,
    /// Why.
    pub why: Why,
}

/// Why connections cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Why {
    /// The pod is gone, or has ended.
    #[error("its pod is gone")]
    PodGone,
    /// The endpoint neither is ready nor serves.
    #[error("the endpoint does not serve any more")]
    NotServing,
    /// The Service has no such endpoint any more.
    #[error("the endpoint is gone")]
    Removed,
}

/// Goes from the backends that were remembered of a Service to those it has now, and says whose connections cannot
/// go on.
///
/// A TCP backend that left is remembered until its pod is gone: call this when the Service changes, and when a pod
/// goes that a remembered backend names. `is_there` says whether a pod lives.
pub fn follow(
    remembered: &mut Backends,
    mut now: Backends,
    is_there: impl Fn(&PodKey) -> bool,
) -> Vec<Ending> {
    let mut endings = Vec::new();
    for (&listener, before) in &*remembered {
        let why = judge(listener.protocol, before, now.get(&listener), &is_there);
        endings.extend(why.map(|why| Ending { listener, why }));
        if why.is_none() && listener.protocol == Protocol::Tcp && before.pod.is_some() {
            let left = State {
                serves: false,
                ..before.clone()
            };
            now.entry(listener).or_insert(left);
        }
    }
    *remembered = now;
    endings
}

fn judge(
    protocol: Protocol,
    before: &State,
    now: Option<&State>,
    is_there: impl Fn(&PodKey) -> bool,
) -> Option<Why> {
    if before.pod.as_ref().is_some_and(|pod| !is_there(pod)) {
        return Some(Why::PodGone);
    }
    if protocol == Protocol::Tcp || !before.serves {
        return None;
    }
    match now {
        None => Some(Why::Removed),
        // A pod that was not known before may have been there all the time.
        Some(now) if before.pod.is_some() && now.pod.is_some() && before.pod != now.pod => Some(Why::Removed),
        Some(now) => (!now.serves).then_some(Why::NotServing),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::desired::ObjectName;

    fn pod(name: &str) -> Option<PodKey> {
        (!name.is_empty()).then(|| PodKey {
            object: ObjectName::new("shop", name),
            uid: name.into(),
        })
    }

    fn listener(protocol: Protocol) -> Listener {
        Listener {
            addr: Ipv4Addr::new(10, 0, 0, 1).into(),
            port: Port::new(8080),
            protocol,
        }
    }

    fn backends(protocol: Protocol, state: Option<(bool, &str)>) -> Backends {
        let state = state.map(|(serves, name)| State {
            serves,
            pod: pod(name),
        });
        state
            .into_iter()
            .map(|state| (listener(protocol), state))
            .collect()
    }

    #[test]
    fn what_ends_udp_and_what_ends_tcp() {
        let (good, bad) = (Some((true, "a")), Some((false, "a")));
        for (case, before, now, alive, udp, tcp) in [
            ("nothing new", good, good, "a", None, None),
            ("no longer serves", good, bad, "a", Some(Why::NotServing), None),
            ("did not serve before", bad, bad, "a", None, None),
            ("serves again", bad, good, "a", None, None),
            ("left the Service", good, None, "a", Some(Why::Removed), None),
            ("left when it served no more", bad, None, "a", None, None),
            (
                "left with its pod",
                good,
                None,
                "",
                Some(Why::PodGone),
                Some(Why::PodGone),
            ),
            (
                "pod gone, slice lags",
                good,
                good,
                "",
                Some(Why::PodGone),
                Some(Why::PodGone),
            ),
            (
                "pod gone after it ended",
                bad,
                None,
                "",
                Some(Why::PodGone),
                Some(Why::PodGone),
            ),
            (
                "another pod there",
                good,
                Some((true, "b")),
                "b",
                Some(Why::PodGone),
                Some(Why::PodGone),
            ),
            (
                "address passed on",
                good,
                Some((true, "b")),
                "ab",
                Some(Why::Removed),
                None,
            ),
            ("pod known now", Some((true, "")), good, "a", None, None),
            (
                "no pod known, left",
                Some((true, "")),
                None,
                "",
                Some(Why::Removed),
                None,
            ),
            (
                "no pod known, serves no more",
                Some((true, "")),
                Some((false, "")),
                "",
                Some(Why::NotServing),
                None,
            ),
            ("new", None, good, "a", None, None),
        ] {
            for (protocol, expected) in [(Protocol::Udp, udp), (Protocol::Tcp, tcp)] {
                let mut remembered = backends(protocol, before);
                let endings = follow(&mut remembered, backends(protocol, now), |pod| {
                    alive.contains(&*pod.object.name)
                });
                let listener = listener(protocol);
                let expected: Vec<_> = expected.map(|why| Ending { listener, why }).into_iter().collect();
                assert_eq!(endings, expected, "{case}, {}", protocol.name());
            }
        }
    }

    #[test]
    fn a_backend_that_left_ends_with_its_pod_and_once() {
        let mut remembered = backends(Protocol::Tcp, Some((true, "a")));
        assert_eq!(follow(&mut remembered, Backends::new(), |_| true), []);
        assert_eq!(follow(&mut remembered, Backends::new(), |_| true), []);
        let gone = follow(&mut remembered, Backends::new(), |_| false);
        assert_eq!(
            gone,
            [Ending {
                listener: listener(Protocol::Tcp),
                why: Why::PodGone
            }]
        );
        assert_eq!(follow(&mut remembered, Backends::new(), |_| false), []);
        assert_eq!(remembered, Backends::new());
    }
}

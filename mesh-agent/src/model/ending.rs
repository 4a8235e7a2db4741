//! Which connections to a backend cannot go on, and are to be destroyed so that their clients learn it at once.
//!
//! A UDP client never learns by itself that nobody is there, so its socket goes as soon as the endpoint neither is
//! ready nor serves. A TCP connection is let be as long as its pod is there: an endpoint that leaves its Service
//! still finishes what it began. Where no pod was known to be behind an endpoint, nobody can tell that it is gone, and
//! where another pod has its address, that one resets what it does not know.
//!
//! What is on record of a socket is compared with the cluster as it is now, so nothing need be remembered: what an
//! agent missed the next one sees. Ids are used again, and frontends change hands: where two readings of a record are
//! possible, a connection ends only if it does by both.

use std::collections::BTreeMap;

use mesh_common::addr::{Addr, Port, Protocol};
use mesh_common::sock::{SockState, flag};

use super::cluster::Cluster;
use super::desired::ObjectName;
use super::ledger::Ledger;

/// Where a connection was sent, and on whose behalf. Many connections have the same.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// Protocol.
    pub protocol: Protocol,
    /// Id of the service.
    pub service: u32,
    /// Address the client dialled.
    pub asked: Addr,
    /// Address of the backend.
    pub addr: Addr,
    /// Port of the backend.
    pub port: Port,
    /// Workload id of the pod behind the backend; 0 where none was known.
    pub pod: u32,
}

impl Target {
    /// From a socket's record; `None` where it was not sent to a backend of a Service, or is not connected any more.
    #[must_use]
    pub const fn of(sock: &SockState) -> Option<Self> {
        let protocol = match sock.flags & (flag::ACTIVE | flag::DATAGRAM) {
            flag::ACTIVE => Protocol::Tcp,
            flag::DATAGRAM => Protocol::Udp,
            _ => return None,
        };
        if sock.service == 0 {
            return None;
        }
        Some(Self {
            protocol,
            service: sock.service,
            asked: sock.asked_addr,
            addr: sock.remote_addr,
            port: sock.remote_port,
            pod: sock.peer,
        })
    }
}

/// Why connections cannot go on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Why {
    /// The pod is gone, or has ended.
    PodGone,
    /// The endpoint neither is ready nor serves.
    NotServing,
    /// The Service has no such endpoint any more.
    Removed,
    /// A policy denies it.
    Denied,
}

impl Why {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PodGone => "pod_gone",
            Self::NotServing => "not_serving",
            Self::Removed => "removed",
            Self::Denied => "denied",
        }
    }
}

/// The endpoints of a Service over UDP, and whether they are ready or serve.
pub type Endpoints = BTreeMap<(Addr, Port), bool>;

/// Tells which connections cannot go on, as things are now.
#[derive(Debug)]
pub struct Judge<'a> {
    cluster: &'a Cluster,
    ledger: &'a Ledger,
    endpoints: BTreeMap<&'a ObjectName, Endpoints>,
    dialled: BTreeMap<Addr, Vec<&'a ObjectName>>,
}

impl<'a> Judge<'a> {
    /// Whoever calls this knows the whole cluster: what is missing in it is gone.
    #[must_use]
    pub const fn new(cluster: &'a Cluster, ledger: &'a Ledger) -> Self {
        Self {
            cluster,
            ledger,
            endpoints: BTreeMap::new(),
            dialled: BTreeMap::new(),
        }
    }

    /// Why the connections with this target cannot go on; `None` where they can, as far as anybody knows.
    pub fn why(&mut self, target: &Target) -> Option<Why> {
        if self.is_pod_gone(target) {
            return Some(Why::PodGone);
        }
        match target.protocol {
            Protocol::Tcp => None,
            Protocol::Udp => self.why_not_serving(target),
        }
    }

    /// Pods and slices come by different watches. So a pod may have its address in a slice before it shows that itself, and
    /// the pod on record may be the one before the one that took the connection: an address that another pod has by now,
    /// or will have as a slice says, tells nothing.
    fn is_pod_gone(&self, target: &Target) -> bool {
        if target.pod == 0 || self.cluster.owner_key(target.addr).is_some() {
            return false;
        }
        let recorded = self.ledger.workload(target.pod);
        let there = recorded
            .and_then(|pod| self.cluster.pod(pod))
            .filter(|pod| pod.is_workload());
        if there.is_some_and(|pod| pod.addresses.is_empty()) {
            return false;
        }
        // One that is there with other addresses was given the id later.
        let gone = recorded.filter(|_| there.is_none());
        !self.cluster.is_announced(target.addr, gone)
    }

    fn why_not_serving(&mut self, target: &Target) -> Option<Why> {
        let by_id = self.ledger.service(target.service).map(|(name, ..)| name);
        let cluster = self.cluster;
        let by_address = self
            .dialled
            .entry(target.asked)
            .or_insert_with(|| cluster.dialled_at(target.asked).collect());
        let mut why = Why::Removed;
        for name in by_id.into_iter().chain(by_address.iter().copied()) {
            let endpoints = self
                .endpoints
                .entry(name)
                .or_insert_with(|| cluster.endpoints_over_udp(name));
            match endpoints.get(&(target.addr, target.port)) {
                Some(true) => return None,
                Some(false) => why = Why::NotServing,
                None => {}
            }
        }
        Some(why)
    }
}

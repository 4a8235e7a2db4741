//! The ways from a client to a server that are compared, and what is asked of them.

use std::fmt;

use crate::bar::Bar;
use crate::workload::Workload;

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the pod's address over the bridge, beside the mesh. All others are compared with it.
    Plain,
    /// The same once more: how far apart the same can be.
    PlainAgain,
    /// To a service's address that the node translates.
    Dnat,
    /// To a service's address through the mesh, without its packet programs.
    MeshNoPackets,
    /// To a service's address through the mesh.
    Mesh,
    /// To the pod's address, both pods in the mesh.
    MeshPod,
}

impl Way {
    /// Those that make a difference for a workload: an open connection is the same whatever was dialled.
    pub fn of(workload: Workload) -> &'static [Self] {
        const ALL: [Way; 6] = [
            Way::Plain,
            Way::Dnat,
            Way::MeshNoPackets,
            Way::PlainAgain,
            Way::Mesh,
            Way::MeshPod,
        ];
        match workload {
            Workload::Connects => &ALL,
            Workload::Requests | Workload::Streams => &ALL[..5],
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::PlainAgain => "plain again",
            Self::Dnat => "DNAT service",
            Self::MeshNoPackets => "mesh, no packet program",
            Self::Mesh => "mesh",
            Self::MeshPod => "mesh, pod address",
        })
    }
}

/// What is asked: this way's rate as a ratio of that one's.
pub struct Demand {
    /// For which traffic.
    pub workload: Workload,
    /// Whose rate.
    pub of: Way,
    /// Compared with whose.
    pub to: Way,
    /// How much of it.
    pub bar: Bar,
}

const fn demand(workload: Workload, of: Way, to: Way, least: f64) -> Demand {
    Demand {
        workload,
        of,
        to,
        bar: Bar::AtLeast(least),
    }
}

/// All of it, on one processor and on two.
pub const DEMANDS: [Demand; 6] = [
    demand(Workload::Requests, Way::MeshNoPackets, Way::Plain, 0.98),
    demand(Workload::Requests, Way::Mesh, Way::Plain, 0.93),
    demand(Workload::Requests, Way::Mesh, Way::Dnat, 1.12),
    demand(Workload::Connects, Way::Mesh, Way::Plain, 0.87),
    demand(Workload::Connects, Way::Mesh, Way::Dnat, 1.25),
    demand(Workload::Streams, Way::Mesh, Way::Plain, 0.97),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_measured() {
        for demand in &DEMANDS {
            let ways = Way::of(demand.workload);
            assert!(ways.contains(&demand.of) && ways.contains(&demand.to));
        }
    }
}

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
    /// The same, with an agent that may not read the kernel's memory: its programs know nothing of acceleration.
    MeshNoReads,
    /// To the pod's address, both pods in the mesh.
    MeshPod,
    /// To a service's address through the mesh, where policies isolate both pods both ways and let just this pass.
    Policed,
    /// To the pod's address, both pods accelerated.
    Accelerated,
    /// To a service's address through the mesh, both pods accelerated.
    AcceleratedService,
}

impl Way {
    /// Those that make a difference for a workload: an open connection is the same whatever was dialled.
    pub fn of(workload: Workload) -> &'static [Self] {
        const ALL: [Way; 7] = [
            Way::Plain,
            Way::Dnat,
            Way::MeshNoPackets,
            Way::PlainAgain,
            Way::Mesh,
            Way::MeshNoReads,
            Way::MeshPod,
        ];
        match workload {
            Workload::Connects => &ALL,
            _ => &ALL[..6],
        }
    }

    /// Those that tell what acceleration is worth.
    pub const ACCELERATION: [Self; 5] = [
        Self::Plain,
        Self::Dnat,
        Self::Accelerated,
        Self::PlainAgain,
        Self::AcceleratedService,
    ];

    /// Those that tell what policies cost.
    pub const POLICIES: [Self; 4] = [Self::Plain, Self::Mesh, Self::PlainAgain, Self::Policed];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::PlainAgain => "plain again",
            Self::Dnat => "DNAT service",
            Self::MeshNoPackets => "mesh, no packet program",
            Self::Mesh => "mesh",
            Self::MeshNoReads => "mesh, no kernel reads",
            Self::MeshPod => "mesh, pod address",
            Self::Policed => "mesh, policies",
            Self::Accelerated => "accelerated",
            Self::AcceleratedService => "accelerated service",
        })
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Operations in a second.
    Rate,
    /// Time of a processor per operation.
    Cpu,
}

/// What is asked: this way's figure as a ratio of that one's.
#[derive(Clone, Copy)]
pub struct Demand {
    /// For which traffic.
    pub workload: Workload,
    /// On how many processors; `None` for any.
    pub processors: Option<usize>,
    /// Which figure.
    pub measure: Measure,
    /// Whose.
    pub of: Way,
    /// Compared with whose.
    pub to: Way,
    /// How much of it.
    pub bar: Bar,
}

const fn demand(workload: Workload, of: Way, to: Way, least: f64) -> Demand {
    Demand {
        workload,
        processors: None,
        measure: Measure::Rate,
        of,
        to,
        bar: Bar::AtLeast(least),
    }
}

const fn accelerated(workload: Workload, least: f64) -> Demand {
    demand(workload, Way::Accelerated, Way::Plain, least)
}

const fn cpu(workload: Workload, most: f64) -> Demand {
    Demand {
        measure: Measure::Cpu,
        bar: Bar::Below(most),
        ..accelerated(workload, 0.0)
    }
}

const fn on(processors: usize, demand: Demand) -> Demand {
    Demand {
        processors: Some(processors),
        ..demand
    }
}

/// All of it, on one processor and on two.
pub const DEMANDS: [Demand; 22] = [
    demand(Workload::Requests, Way::MeshNoPackets, Way::Plain, 0.98),
    demand(Workload::Requests, Way::Mesh, Way::Plain, 0.93),
    demand(Workload::Requests, Way::Mesh, Way::Dnat, 1.12),
    demand(Workload::Connects, Way::Mesh, Way::Plain, 0.87),
    demand(Workload::Connects, Way::Mesh, Way::Dnat, 1.25),
    demand(Workload::Streams, Way::Mesh, Way::Plain, 0.97),
    demand(Workload::Requests, Way::Mesh, Way::MeshNoReads, 0.99),
    demand(Workload::Connects, Way::Mesh, Way::MeshNoReads, 0.99),
    demand(Workload::Requests, Way::Policed, Way::Mesh, 0.92),
    demand(Workload::Connects, Way::Policed, Way::Mesh, 0.85),
    accelerated(Workload::Requests, 1.55),
    cpu(Workload::Requests, 0.65),
    accelerated(Workload::MediumRequests, 1.55),
    cpu(Workload::MediumRequests, 0.65),
    accelerated(Workload::LargeRequests, 1.35),
    accelerated(Workload::Crowd, 1.5),
    accelerated(Workload::Http, 1.35),
    on(1, accelerated(Workload::Streams, 0.95)),
    on(2, accelerated(Workload::Streams, 0.85)),
    accelerated(Workload::SmallStreams, 0.95),
    demand(Workload::Requests, Way::AcceleratedService, Way::Dnat, 1.8),
    demand(Workload::Connects, Way::AcceleratedService, Way::Dnat, 1.3),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_measured() {
        for demand in &DEMANDS {
            let cells = [Way::of(demand.workload), &Way::ACCELERATION, &Way::POLICIES];
            let measured = |ways: &&[Way]| ways.contains(&demand.of) && ways.contains(&demand.to);
            assert!(cells.iter().any(measured));
        }
    }
}

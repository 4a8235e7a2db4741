//! Slices of all ways in turns, so that what the machine does meanwhile meets all of them alike.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bar::Verdict;
use crate::crew::Sample;
use crate::order::Order;
use crate::side::{Mesh, SERVER, SERVICE, Side};
use crate::statistics::Estimate;
use crate::way::{DEMANDS, Measure, Way};
use crate::workload::Workload;

/// How long each way works in a round.
pub const SLICE: Duration = Duration::from_millis(100);

/// The nodes.
pub struct Town {
    plain: Side,
    /// Where the machine can.
    dnat: Option<Side>,
    bare: Side,
    mesh: Side,
    /// Where it is wanted.
    no_reads: Option<Side>,
    /// Where the kernel can and it is asked for.
    accelerated: Option<Side>,
    /// Where it is wanted.
    policed: Option<Side>,
}

/// All that was measured of one workload on some processors.
pub struct Cell {
    /// What was done.
    pub workload: Workload,
    /// On how many processors.
    pub processors: usize,
    /// By way, in the order of the first round.
    pub rows: Vec<(Way, Vec<Sample>)>,
    /// Microseconds of a processor that the agent used for each operation through the mesh, on top.
    pub agent_cpu: f64,
}

impl Town {
    /// Builds the nodes for these ways.
    pub fn build(ways: &[Way]) -> Result<Self> {
        let node = |way, build: fn() -> Result<Side>| ways.contains(&way).then(build).transpose();
        Ok(Self {
            plain: Side::plain()?,
            dnat: node(Way::Dnat, Side::dnat)?,
            bare: Side::mesh(Mesh::NoPackets)?,
            mesh: Side::mesh(Mesh::Whole)?,
            no_reads: node(Way::MeshNoReads, || Side::mesh(Mesh::NoReads))?,
            accelerated: node(Way::Accelerated, Side::accelerated)?,
            policed: node(Way::Policed, Side::policed)?,
        })
    }

    /// Starts the server for HTTP where HTTP is measured.
    pub fn serve_http(&mut self) -> Result<()> {
        let sides = [
            Some(&mut self.plain),
            self.dnat.as_mut(),
            self.accelerated.as_mut(),
        ];
        for side in sides.into_iter().flatten() {
            side.crew.serve_http(&side.server)?;
        }
        Ok(())
    }

    /// Measures a workload by these ways, with the client on the first and the server on the second of these processors.
    pub fn measure(
        &mut self,
        workload: Workload,
        ways: &[Way],
        [first, second]: [usize; 2],
        rounds: usize,
    ) -> Result<Cell> {
        let sides = [
            Some(&self.plain),
            self.dnat.as_ref(),
            Some(&self.bare),
            Some(&self.mesh),
            self.no_reads.as_ref(),
            self.accelerated.as_ref(),
            self.policed.as_ref(),
        ];
        for side in sides.into_iter().flatten() {
            side.crew.pin(first, second)?;
        }
        let ways = ways.iter().filter(|way| self.side(**way).is_some());
        let mut rows: Vec<_> = ways.map(|way| (*way, Vec::new())).collect();
        // One round that does not count: neighbours, routes and caches are found.
        for (way, _) in &rows {
            self.work(*way, workload)?;
        }
        let before = self.agents_used()?;
        for round in 0..rounds {
            for index in order(round, rows.len()) {
                let (way, samples) = &mut rows[index];
                samples.push(
                    self.work(*way, workload)
                        .with_context(|| format!("{workload}, {way}"))?,
                );
            }
        }
        let mut used = 0.0;
        let mut ours = Vec::new();
        for (agent, ways) in self.agents_used()?.iter().zip(before).zip(AGENTS) {
            let (after, before) = agent;
            let rows = rows.iter().filter(|(way, _)| ways.contains(way));
            let rows: Vec<_> = rows.collect();
            if !rows.is_empty() {
                used += after - before;
                ours.extend(rows);
            }
        }
        let operations: u64 = ours
            .iter()
            .flat_map(|(_, samples)| samples)
            .map(|sample| sample.operations)
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let agent_cpu = used / operations as f64;
        Ok(Cell {
            workload,
            processors: if first == second { 1 } else { 2 },
            rows,
            agent_cpu,
        })
    }

    /// The node with the mesh.
    pub fn mesh(&mut self) -> &mut Side {
        &mut self.mesh
    }

    fn work(&mut self, way: Way, workload: Workload) -> Result<Sample> {
        let first = match way {
            Way::Plain | Way::PlainAgain | Way::MeshPod | Way::Accelerated => SERVER,
            Way::Dnat
            | Way::MeshNoPackets
            | Way::Mesh
            | Way::MeshNoReads
            | Way::Policed
            | Way::AcceleratedService => SERVICE,
        };
        let order = Order {
            workload,
            first,
            addresses: 1,
            slice: SLICE,
        };
        self.side(way)
            .with_context(|| format!("no node for {way}"))?
            .crew
            .work(&order)
    }

    fn side(&mut self, way: Way) -> Option<&mut Side> {
        match way {
            Way::Plain | Way::PlainAgain => Some(&mut self.plain),
            Way::Dnat => self.dnat.as_mut(),
            Way::MeshNoPackets => Some(&mut self.bare),
            Way::Mesh | Way::MeshPod => Some(&mut self.mesh),
            Way::MeshNoReads => self.no_reads.as_mut(),
            Way::Accelerated | Way::AcceleratedService => self.accelerated.as_mut(),
            Way::Policed => self.policed.as_mut(),
        }
    }

    /// Microseconds that the agents used so far, as in [`AGENTS`].
    fn agents_used(&self) -> Result<[f64; 2]> {
        let used = |side: Option<&Side>| side.map_or(Ok(None), Side::agent_used);
        let [mesh, accelerated] = [Some(&self.mesh), self.accelerated.as_ref()].map(used);
        Ok([mesh?, accelerated?].map(Option::unwrap_or_default))
    }
}

/// The ways that lead past each agent that is looked at.
const AGENTS: [[Way; 2]; 2] = [
    [Way::Mesh, Way::MeshPod],
    [Way::Accelerated, Way::AcceleratedService],
];

impl Cell {
    /// Rates of a way, by round.
    pub fn rates(&self, way: Way) -> Option<Vec<f64>> {
        self.column(way, |sample| sample.rate)
    }

    /// Microseconds of a processor per operation, by round.
    pub fn cpu(&self, way: Way) -> Option<Vec<f64>> {
        self.column(way, |sample| sample.cpu)
    }

    /// What is asked of this workload, for the ways that were measured.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let asked = DEMANDS.iter().filter(|demand| {
            let processors = demand.processors.unwrap_or(self.processors);
            demand.workload == self.workload && processors == self.processors
        });
        let judge = |demand: &crate::way::Demand| {
            let (of, to) = (demand.of, demand.to);
            let (measured, unit) = match demand.measure {
                Measure::Rate => ([self.rates(of)?, self.rates(to)?], ""),
                Measure::Cpu => ([self.cpu(of)?, self.cpu(to)?], ", CPU"),
            };
            let figure = Estimate::of_ratios(&measured[0], &measured[1])?;
            Some(Verdict {
                what: format!("{self}{unit}: {of} / {to}"),
                bar: demand.bar,
                figure,
            })
        };
        asked.filter_map(judge).collect()
    }

    fn column(&self, way: Way, of: impl Fn(&Sample) -> f64) -> Option<Vec<f64>> {
        let (_, samples) = self.rows.iter().find(|(other, _)| *other == way)?;
        Some(samples.iter().map(of).collect())
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let processors = if self.processors == 1 {
            "one CPU"
        } else {
            "two CPUs"
        };
        write!(f, "{}, {processors}", self.workload)
    }
}

/// Who works when in a round: each round begins one further, and every second one goes backwards, so that
/// everyone has every place and every neighbour.
pub fn order(round: usize, ways: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..ways).map(|place| (place + round / 2) % ways).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_every_place_equally_often() {
        let ways = 5;
        let mut places = vec![vec![0; ways]; ways];
        for round in 0..2 * ways {
            for (place, way) in order(round, ways).into_iter().enumerate() {
                places[way][place] += 1;
            }
        }
        assert_eq!(places, vec![vec![2; ways]; ways]);
    }

    #[test]
    fn bars_stand_before_the_ways_that_were_measured() {
        let sample = |rate| Sample {
            rate,
            cpu: 1.0,
            operations: 1,
        };
        let row = |way, rate| (way, vec![sample(rate); 15]);
        let cell = Cell {
            workload: Workload::Requests,
            processors: 2,
            rows: vec![row(Way::Plain, 100.0), row(Way::Mesh, 95.0)],
            agent_cpu: 0.0,
        };
        let verdicts = cell.verdicts();
        let [verdict] = verdicts.as_slice() else {
            panic!("{verdicts:?}")
        };
        assert_eq!(verdict.what, "requests, two CPUs: mesh / plain");
        assert_eq!(verdict.figure.to_string(), "0.95 [0.95, 0.95]");
    }
}

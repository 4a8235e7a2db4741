//! The table and the JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::bar::{Outcome, Verdict};
use crate::rounds::{Cell, SLICE};
use crate::statistics::Estimate;
use crate::way::Way;

/// The maps that `connect()` of a TCP socket to a service reads, see ARCHITECTURE.md: hash maps and storage, arrays.
const LOOKUPS: [&[&str]; 2] = [
    &["PODS", "SERVICES", "SOCK_STATE"],
    &["CONFIG", "SERVICE_INFO", "LB_TABLE", "BACKENDS"],
];

/// Everything that was found out.
#[derive(Default)]
pub struct Report {
    /// Rounds of each cell.
    pub rounds: usize,
    /// Traffic.
    pub cells: Vec<Cell>,
    /// Size.
    pub scale: Vec<Verdict>,
    /// What this machine can't do, and why.
    pub skipped: Vec<String>,
    /// What has to be known to read it.
    pub notes: Vec<String>,
}

/// A line of a cell.
struct Row {
    way: Way,
    rate: f64,
    cpu: f64,
    ratio: Estimate,
    cpu_ratio: Estimate,
}

impl Report {
    /// All bars with what stands before them.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let cells = self.cells.iter().flat_map(Cell::verdicts);
        cells.chain(self.scale.iter().cloned()).collect()
    }

    /// Whether a bar was missed.
    pub fn missed(&self) -> bool {
        self.verdicts()
            .iter()
            .any(|verdict| verdict.outcome() == Outcome::Missed)
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} rounds of all ways in turns, {} ms each; medians with the 95 % interval\n",
            self.rounds,
            SLICE.as_millis()
        );
        for cell in &self.cells {
            let _ = write!(text, "\n{cell} ({})\n", cell.workload.operation());
            let _ = writeln!(
                text,
                "  {:<24} {:>10}  {:<22} {:>8}  CPU / plain",
                "way", "per second", "rate / plain", "CPU µs"
            );
            for Row {
                way,
                rate,
                cpu,
                ratio,
                cpu_ratio,
            } in rows(cell)
            {
                let ratio = format!("{ratio:.3}");
                let _ = writeln!(
                    text,
                    "  {way:<24} {rate:>10.0}  {ratio:<22} {cpu:>8.2}  {cpu_ratio:.3}"
                );
            }
            let _ = writeln!(
                text,
                "  the agent beside the mesh: {:.2} µs per operation",
                cell.agent_cpu
            );
        }
        let [hashed, arrays] = LOOKUPS.map(|maps| maps.join(", "));
        let _ = write!(
            text,
            "\nlook-ups of a connect through a service: {hashed}; arrays: {arrays}\n\nbars\n"
        );
        for verdict in self.verdicts() {
            let Verdict { what, bar, figure } = &verdict;
            let outcome = verdict.outcome();
            let _ = writeln!(text, "  {outcome:<8} {what}: {figure:.3}, {bar}");
        }
        text.push_str("open: the median lies beyond the bar, the interval reaches it\n");
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "SKIP {skipped}");
        }
        let count = |outcome| {
            self.verdicts()
                .iter()
                .filter(|verdict| verdict.outcome() == outcome)
                .count()
        };
        let [reached, open, missed] = [Outcome::Reached, Outcome::Open, Outcome::Missed].map(count);
        let _ = writeln!(
            text,
            "{reached} reached, {open} open, {missed} missed, {} skipped",
            self.skipped.len()
        );
        text
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let cell = |cell: &Cell| {
            let rows: Vec<_> = rows(cell).map(|row| row.json()).collect();
            json!({
                "workload": cell.workload.to_string(),
                "operation": cell.workload.operation(),
                "cpus": cell.processors,
                "ways": rows,
                "agent_cpu_us": cell.agent_cpu,
            })
        };
        json!({
            "rounds": self.rounds,
            "slice_ms": SLICE.as_secs_f64() * 1e3,
            "cells": self.cells.iter().map(cell).collect::<Vec<_>>(),
            "lookups_per_connect": {"hashed": LOOKUPS[0], "arrays": LOOKUPS[1]},
            "bars": self.verdicts().iter().map(Verdict::json).collect::<Vec<_>>(),
            "notes": self.notes,
            "skipped": self.skipped,
        })
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "way": self.way.to_string(),
            "per_second": self.rate,
            "cpu_us": self.cpu,
            "rate_to_plain": self.ratio.json(),
            "cpu_to_plain": self.cpu_ratio.json(),
        })
    }
}

fn rows(cell: &Cell) -> impl Iterator<Item = Row> {
    cell.rows.iter().filter_map(|&(way, _)| {
        let (rates, cpu) = (cell.rates(way)?, cell.cpu(way)?);
        Some(Row {
            way,
            rate: Estimate::of(&rates)?.median,
            cpu: Estimate::of(&cpu)?.median,
            ratio: Estimate::of_ratios(&rates, &cell.rates(Way::Plain)?)?,
            cpu_ratio: Estimate::of_ratios(&cpu, &cell.cpu(Way::Plain)?)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bar::Bar;
    use crate::crew::Sample;
    use crate::workload::Workload;

    fn report() -> Report {
        let row = |way, rate, cpu| {
            let sample = Sample {
                rate,
                cpu,
                operations: 1,
            };
            (way, vec![sample; 15])
        };
        Report {
            rounds: 15,
            cells: vec![Cell {
                workload: Workload::Connects,
                processors: 1,
                rows: vec![row(Way::Plain, 10_000.0, 50.0), row(Way::Mesh, 8_000.0, 60.0)],
                agent_cpu: 1.25,
            }],
            scale: vec![Verdict {
                what: "memory".into(),
                bar: Bar::Below(30.0),
                figure: Estimate {
                    low: 20.0,
                    median: 21.0,
                    high: 22.0,
                },
            }],
            skipped: vec!["DNAT service: no nft".into()],
            notes: vec!["a note".into()],
        }
    }

    #[test]
    fn the_table_has_everything() {
        let report = report();
        assert!(report.missed());
        let expected = "\
15 rounds of all ways in turns, 100 ms each; medians with the 95 % interval

connects, one CPU (connect, request, close)
  way                      per second  rate / plain             CPU µs  CPU / plain
  plain                         10000  1.000 [1.000, 1.000]      50.00  1.000 [1.000, 1.000]
  mesh                           8000  0.800 [0.800, 0.800]      60.00  1.200 [1.200, 1.200]
  the agent beside the mesh: 1.25 µs per operation

look-ups of a connect through a service: PODS, SERVICES, SOCK_STATE; arrays: CONFIG, SERVICE_INFO, LB_TABLE, BACKENDS

bars
  MISSED   connects, one CPU: mesh / plain: 0.800 [0.800, 0.800], at least 0.87
  reached  memory: 21.000 [20.000, 22.000], below 30
open: the median lies beyond the bar, the interval reaches it
note: a note
SKIP DNAT service: no nft
1 reached, 0 open, 1 missed, 1 skipped
";
        assert_eq!(report.table(), expected);
    }

    #[test]
    fn the_json_has_the_same() {
        let json = report().json();
        assert_eq!(json["cells"][0]["ways"][1]["rate_to_plain"]["median"], 0.8);
        assert_eq!(json["bars"][0]["outcome"], "missed");
        assert_eq!(json["skipped"][0], "DNAT service: no nft");
    }
}

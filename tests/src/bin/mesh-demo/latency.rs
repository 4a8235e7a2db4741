//! What the mesh costs, beside the same without it.

use anyhow::{Context as _, Result};

use crate::narrator::Narrator;
use crate::ratio::{Ratio, median, microseconds_per_request};
use crate::terminal::Terminal;
use crate::town::{PLAIN_REDIS, REDIS, Town};

/// Each round measures everything once; a multiple of three, so that the order is fair.
const ROUNDS: usize = 12;
/// What is measured. New connections are few: with many closed ones to the same address the kernel takes its
/// time to find a free port.
const QUESTIONS: [Question; 2] = [
    Question {
        what: "request on an open connection",
        count: 3000,
        keep: 1,
    },
    Question {
        what: "new connection and a request",
        count: 400,
        keep: 0,
    },
];

struct Question {
    what: &'static str,
    /// Requests each time.
    count: u32,
    /// Whether a connection serves more than one request.
    keep: u32,
}

/// Microseconds of each round.
#[derive(Default)]
struct Times {
    mesh: Vec<f64>,
    plain: Vec<f64>,
    plain_again: Vec<f64>,
}

/// Measures in turns.
pub fn show(town: &Town, narrator: &mut Narrator) -> Result<()> {
    narrator.step("Latency: through the mesh, and beside it")?;
    let [inside, outside] = [
        Way::through_the_mesh(town),
        Way {
            terminal: town.unenrolled("client-1"),
            host: "10.0.1.21",
            port: PLAIN_REDIS,
        },
    ];
    narrator.say("client-1 asks redis in cache-1, one request at a time.")?;
    narrator.say("mesh: by the service's address.")?;
    narrator.command("client-1", &inside.command(&QUESTIONS[0]))?;
    narrator.say(
        "beside: by the pod's address; client and a second redis in the same pods, but out of the mesh.",
    )?;
    narrator.command("client-1", &outside.command(&QUESTIONS[0]))?;
    narrator.say("and again with -k 0, a new connection for each request.")?;
    narrator.say(&format!(
        "{ROUNDS} rounds of mesh, beside, beside in turns; medians, and ratios with the middle half of the rounds."
    ))?;
    narrator.output(&row(
        "time per",
        "mesh",
        "beside",
        "mesh/beside",
        "noise: beside/beside",
    ))?;
    for question in &QUESTIONS {
        let times = measure(&inside, &outside, question)?;
        narrator.output(&times.row(question.what).context("nothing was measured")?)?;
    }
    narrator.say("a small machine that does both sides: what lies within the noise means nothing")?;
    Ok(())
}

fn measure(inside: &Way, outside: &Way, question: &Question) -> Result<Times> {
    let mut times = Times::default();
    for round in 0..ROUNDS {
        // Each is first, second and last equally often.
        for turn in round..round + 3 {
            match turn % 3 {
                0 => times.mesh.push(inside.time(question)?),
                1 => times.plain.push(outside.time(question)?),
                _ => times.plain_again.push(outside.time(question)?),
            }
        }
    }
    Ok(times)
}

/// A way to a redis.
pub struct Way {
    terminal: Terminal,
    host: &'static str,
    port: u16,
}

impl Way {
    /// By the service's address.
    pub fn through_the_mesh(town: &Town) -> Self {
        Self {
            terminal: town.terminal("client-1"),
            host: "10.96.0.20",
            port: REDIS,
        }
    }

    /// Microseconds per request on an open connection.
    pub fn time_of_a_request(&self) -> Result<f64> {
        self.time(&QUESTIONS[0])
    }

    fn command(&self, question: &Question) -> String {
        let (Self { host, port, .. }, Question { count, keep, .. }) = (self, question);
        format!("redis-benchmark -h {host} -p {port} -c 1 -n {count} -k {keep} -t ping_mbulk --csv")
    }

    /// Microseconds per request.
    fn time(&self, question: &Question) -> Result<f64> {
        let command = self.command(question);
        let csv = self.terminal.run_quietly(&command)?;
        microseconds_per_request(&csv).with_context(|| format!("{command}: {csv}"))
    }
}

impl Times {
    fn row(&self, what: &str) -> Option<String> {
        let microseconds = |times: &[f64]| Some(format!("{:.1} µs", median(times)?));
        Some(row(
            what,
            &microseconds(&self.mesh)?,
            &microseconds(&self.plain)?,
            &Ratio::of_pairs(&self.mesh, &self.plain)?.to_string(),
            &Ratio::of_pairs(&self.plain_again, &self.plain)?.to_string(),
        ))
    }
}

fn row(what: &str, mesh: &str, beside: &str, cost: &str, noise: &str) -> String {
    format!("{what:<30} {mesh:>9} {beside:>9}   {cost:<22}   {noise}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_shows_cost_beside_noise() {
        let times = Times {
            mesh: vec![30.0, 33.0, 27.0],
            plain: vec![30.0, 30.0, 30.0],
            plain_again: vec![30.0, 36.0, 24.0],
        };
        assert_eq!(
            times.row("a request").unwrap(),
            "a request                        30.0 µs   30.0 µs   ×1.00 (×0.90 to ×1.10)   ×1.00 (×0.80 to ×1.20)\n"
        );
        assert_eq!(Times::default().row("nothing"), None);
    }
}

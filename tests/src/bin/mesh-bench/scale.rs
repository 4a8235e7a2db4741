//! What ten thousand Services with a hundred thousand endpoints cost.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::Agent;

use crate::bar::{Bar, Verdict};
use crate::catalogue::{self, FIRST_REAL, PER_FILE, REAL, SERVICES};
use crate::order::Order;
use crate::processor;
use crate::rounds::{self, SLICE};
use crate::side::{SERVICE, Side};
use crate::statistics::{Estimate, LEAST};
use crate::workload::Workload;

/// Agents that are started to load everything, and to load a little.
const LOADS: usize = 7;
const _: () = assert!(LOADS >= LEAST);
/// Services of a small cluster.
const FEW: u32 = 10;
/// The file that changes.
const WATCHED: &str = "0.yaml";
/// After this an agent that is ready has nothing left to do.
const SETTLED: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_secs(5);
/// How exactly a change is timed.
const LOOK: Duration = Duration::from_micros(100);
const MIB: f64 = 1024.0 * 1024.0;

/// Measures; `one` is a node with one service. Says what it does meanwhile; returns a note, too.
pub fn measure(one: &mut Side, rounds: usize, say: impl Fn(&str)) -> Result<(Vec<Verdict>, String)> {
    say(&format!("scale: a node with {FEW} services, {LOADS} times"));
    let few = load(&Side::build("few")?, &[("few.yaml".into(), catalogue::few(FEW))])?.0;
    say(&format!("scale: a node with {SERVICES} services, {LOADS} times"));
    let mut many = Side::build("many")?;
    let files: Vec<_> = (0..SERVICES / PER_FILE)
        .map(|number| (format!("{number}.yaml"), catalogue::file(number, true)))
        .collect();
    let (loads, _agent) = load(&many, &files)?;
    say(&format!("scale: {rounds} changes of an endpoint"));
    let changes = changes(&many, rounds)?;
    say(&format!(
        "scale: connects with one service and with {SERVICES}, {rounds} rounds"
    ));
    let cost = connects(one, &mut many, rounds)?;
    let all = format!("{SERVICES} services with {} endpoints", catalogue::ENDPOINTS);
    let verdict = |what: String, bar, samples: &[f64]| -> Result<Verdict> {
        let figure = Estimate::of(samples).with_context(|| format!("too few samples: {what}"))?;
        Ok(Verdict {
            what,
            bar: Bar::Below(bar),
            figure,
        })
    };
    let column = |loads: &[Load], of: fn(&Load) -> f64| loads.iter().map(of).collect::<Vec<_>>();
    let verdicts = vec![
        verdict(
            format!("{all}: start to ready, s"),
            3.0,
            &column(&loads, |it| it.seconds),
        )?,
        verdict(
            format!("{all}: one endpoint's change until a client sees it, ms"),
            20.0,
            &changes,
        )?,
        verdict(
            format!("{all}: time of a connect / with one service"),
            1.05,
            &cost,
        )?,
        verdict(
            format!("{all}: memory of the agent, MiB"),
            150.0,
            &column(&loads, |it| it.mebibytes),
        )?,
        verdict(
            format!("{FEW} services: memory of the agent, MiB"),
            30.0,
            &column(&few, |it| it.mebibytes),
        )?,
    ];
    let cpu = Estimate::of(&column(&loads, |it| it.cpu)).context("too few loads")?;
    Ok((
        verdicts,
        format!("{all}: start to ready takes {cpu} s of CPU time"),
    ))
}

/// What an agent needed.
struct Load {
    /// From its start until it was ready.
    seconds: f64,
    /// Time of a processor until then.
    cpu: f64,
    /// Resident memory when all was done.
    mebibytes: f64,
}

/// Starts agents, one after the other, each on an empty node; the last one goes on.
fn load(side: &Side, files: &[(String, String)]) -> Result<(Vec<Load>, Agent)> {
    side.describe_pods()?;
    for (name, text) in files {
        side.sandbox.manifests().write(name, text)?;
    }
    let mut loads = Vec::new();
    loop {
        let begun = Instant::now();
        let agent = side.sandbox.agent().start()?;
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = processor::used_by(agent.program().pid())?.as_secs_f64();
        sleep(SETTLED);
        let mebibytes = resident(agent.program().pid())? / MIB;
        loads.push(Load {
            seconds,
            cpu,
            mebibytes,
        });
        if loads.len() == LOADS {
            return Ok((loads, agent));
        }
        agent.terminate()?;
        let cleaned = side.sandbox.cleanup()?;
        ensure!(
            cleaned.status.success(),
            "{}",
            String::from_utf8_lossy(&cleaned.stderr)
        );
    }
}

/// Bytes of memory that a process has.
fn resident(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .with_context(|| path.clone())?;
    let kibibytes: f64 = line
        .trim_end_matches("kB")
        .trim()
        .parse()
        .with_context(|| line.to_owned())?;
    Ok(kibibytes * 1024.0)
}

/// Milliseconds from the writing of a file with one changed endpoint until a client in a pod sees the change.
fn changes(side: &Side, rounds: usize) -> Result<Vec<f64>> {
    let texts = [false, true].map(|ready| catalogue::file(0, ready));
    let watched = SocketAddr::from((catalogue::address(0), Workload::Connects.port()));
    side.client.run(|| {
        let mut times = Vec::new();
        for round in 0..rounds {
            let (text, expected) = (&texts[round % 2], round % 2 == 1);
            // The agent is at rest, as between two changes of a cluster.
            sleep(Duration::from_millis(100));
            let begun = Instant::now();
            side.sandbox.manifests().write(WATCHED, text)?;
            while TcpStream::connect(watched).is_ok() != expected {
                ensure!(
                    begun.elapsed() < SOON,
                    "a change of an endpoint is not seen within {SOON:?}"
                );
                sleep(LOOK);
            }
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    })
}

/// Time of a connect, request and close to many services in turns as a ratio of that to one service on a node
/// that has no other; on one processor.
fn connects(one: &mut Side, many: &mut Side, rounds: usize) -> Result<Vec<f64>> {
    let order = |first, addresses| Order {
        workload: Workload::Connects,
        first,
        addresses,
        slice: SLICE,
    };
    let orders = [order(SERVICE, 1), order(catalogue::address(FIRST_REAL), REAL)];
    let cpu = *processor::available()?.first().context("no processor")?;
    one.crew.pin(cpu, cpu)?;
    many.crew.pin(cpu, cpu)?;
    let mut ratios = Vec::new();
    // The first round does not count.
    for round in 0..=rounds {
        let mut rates = [0.0; 2];
        for index in rounds::order(round, 2) {
            let side = if index == 0 { &mut *one } else { &mut *many };
            rates[index] = side.crew.work(&orders[index])?.rate;
        }
        if round > 0 {
            ratios.push(rates[0] / rates[1]);
        }
    }
    Ok(ratios)
}

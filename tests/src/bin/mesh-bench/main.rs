//! Measures what the mesh costs, as ratios to the same without it; started by `cargo xtask bench`.
//!
//! Absolute times are noise on a machine that does other things too. So every way works for a tenth of a second,
//! all in turns, many rounds; only what was measured in the same round is compared. Each way has a node of its
//! own in network namespaces, alike but for what is compared, and a client and a server that are processes of
//! their own, pinned to processors.
//!
//! Standard input is the leash: its end is the end of the benchmark. Dying at any moment is a clean end: the
//! harness's janitor sees to it.

mod bar;
mod catalogue;
mod client;
mod crew;
mod dnat;
mod http;
mod options;
mod order;
mod policy;
mod processor;
mod report;
mod rounds;
mod scale;
mod server;
mod side;
mod statistics;
mod way;
mod workload;

use std::fs;
use std::io::{Write as _, stdin, stdout};
use std::path::Path;
use std::process::{ExitCode, exit};
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use harness::require;

use options::{Options, Part};
use report::Report;
use rounds::Town;
use way::Way;
use workload::Workload;

/// Measures what the mesh costs.
#[derive(Parser)]
#[command(name = "mesh-bench")]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, crew::WORKER, role, control] => crew::work(role, Path::new(control)).map(|()| ExitCode::SUCCESS),
        _ => run(&Cli::parse().options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode> {
    hold_leash();
    let report = measure(options)?;
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", report.json());
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    stdout().write_all(report.table().as_bytes())?;
    Ok(if report.missed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn measure(options: &Options) -> Result<Report> {
    let rounds = usize::from(options.pairs);
    let mut report = Report {
        rounds,
        ..Report::default()
    };
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    let basic = Workload::BASIC.into_iter().filter(|workload| {
        wanted(match workload {
            Workload::Connects => Part::Connects,
            Workload::Streams => Part::Streams,
            _ => Part::Requests,
        })
    });
    let mut workloads: Vec<_> = basic.map(|workload| (workload, Way::of(workload))).collect();
    if wanted(Part::Accel) {
        workloads.extend(Workload::ALL.map(|workload| (workload, &Way::ACCELERATION[..])));
    }
    if wanted(Part::Policy) {
        let policed = [Workload::Requests, Workload::Connects, Workload::Streams];
        workloads.extend(policed.map(|workload| (workload, &Way::POLICIES[..])));
    }
    let cpus = processor::available()?;
    let mut places = vec![[cpus[0], cpus[0]]];
    if let Some(&second) = cpus.get(1) {
        places.push([cpus[0], second]);
    } else {
        report
            .skipped
            .push("everything on two CPUs: this process may use one only".into());
    }
    let [nft, nginx] = ["nft", "nginx"].map(require::program);
    if let Err(reason) = &nginx {
        workloads.retain(|(workload, _)| *workload != Workload::Http);
        report
            .skipped
            .push(format!("HTTP: {reason} (Debian package nginx-light)"));
    }
    say("building the nodes");
    let mut ways: Vec<_> = workloads.iter().flat_map(|(_, ways)| *ways).copied().collect();
    ways.retain(|way| nft.is_ok() || *way != Way::Dnat);
    let mut town = Town::build(&ways)?;
    if workloads.iter().any(|(workload, _)| *workload == Workload::Http) {
        town.serve_http()?;
    }
    if !workloads.is_empty() {
        match nft {
            Err(reason) => report
                .skipped
                .push(format!("DNAT service: {reason} (Debian package nftables)")),
            Ok(()) => report.notes.extend(dnat::most_connections().map(|most| {
                format!("DNAT: at most {most} tracked connections, time-outs as the kernel has them")
            })),
        }
    }
    for (workload, ways) in workloads {
        for place in &places {
            say(&format!("{workload} on CPUs {place:?}, {rounds} rounds"));
            report.cells.push(town.measure(workload, ways, *place, rounds)?);
        }
    }
    if wanted(Part::Scale) {
        let (scale, note) = scale::measure(town.mesh(), rounds, say)?;
        report.scale = scale;
        report.notes.push(note);
    }
    Ok(report)
}

/// Progress goes beside the table.
fn say(text: &str) {
    eprintln!("{text}");
}

/// At the end of the input the process ends at once.
fn hold_leash() {
    thread::spawn(|| {
        for _ in stdin().lines().map_while(Result::ok) {}
        exit(1);
    });
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert!(Cli::try_parse_from(["mesh-bench", "--pairs", "14"]).is_err());
        assert!(Cli::try_parse_from(["mesh-bench", "--only", "scale,streams"]).is_ok());
    }
}

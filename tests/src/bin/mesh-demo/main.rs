//! Shows the mesh at work on this machine, in network namespaces; started by `cargo xtask demo`.
//!
//! Every line that looks like output is output: a command is shown, run, and what it printed follows. A step
//! that does not show what it says fails the demonstration.
//!
//! Standard input is the leash: its end is the end of the demonstration, whatever happened to who holds it.
//! With `--keep` a line there ends it. Dying at any moment is a clean end: the harness's janitor sees to it.

mod acceleration;
mod counting;
mod dns;
mod explore;
mod kernel;
mod latency;
mod leash;
mod narrator;
mod ratio;
mod removal;
mod spread;
mod survival;
mod terminal;
mod town;

use std::process::ExitCode;

use anyhow::Result;

use leash::Leash;
use narrator::Narrator;
use town::Town;

fn main() -> ExitCode {
    let keep = std::env::args().skip(1).any(|arg| arg == "--keep");
    match show(keep, &Leash::hold()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(keep: bool, leash: &Leash) -> Result<()> {
    let mut narrator = Narrator::begin();
    let mut town = Town::build(&mut narrator)?;
    town.start_agent(&mut narrator)?;
    spread::show(&town, &mut narrator)?;
    kernel::show(&town, &mut narrator)?;
    kernel::show_flows(&town, &mut narrator)?;
    latency::show(&town, &mut narrator)?;
    acceleration::show(&town, &mut narrator)?;
    survival::show(&mut town, &mut narrator)?;
    if keep {
        explore::invite(&town, &mut narrator)?;
        leash.line();
    }
    removal::show(town, &mut narrator)
}

//! The node agent.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use mesh_agent::{
    app::{
        cleanup,
        config::{Cli, Command, LogFormat, RunArgs},
        run,
    },
    sys::heap,
};
use mesh_common::names::exit;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => start(*args),
        Command::Cleanup(place) => cleanup::cleanup(&place).map(|removed| {
            for what in &removed {
                println!("removed {what}");
            }
            if removed.is_empty() {
                println!("nothing to remove");
            }
        }),
    };
    match done {
        Ok(()) => exit::OK.into(),
        Err(error) => {
            eprintln!("mesh-agent: {error:#}");
            exit::FAILURE.into()
        }
    }
}

/// The API server's answers are told of by the source, once and in words for operators.
const QUIET: &str = "info,kube_client=off";

fn start(args: RunArgs) -> anyhow::Result<()> {
    heap::keep_large_apart();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    // The engine has this thread; the servers have two of their own, so that neither waits for the other.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let done = runtime.block_on(run::run(args));
    // A probe that still runs must not hold up the end.
    runtime.shutdown_background();
    done
}

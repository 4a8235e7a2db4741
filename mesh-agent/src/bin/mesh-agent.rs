//! The node agent.

use std::{env, ffi::OsString, io::IsTerminal, process::ExitCode};

use anyhow::Context as _;
use mesh_agent::{
    app::{
        broker, cleanup,
        config::{BrokerArgs, Command, LogFormat, RunArgs, Supervised},
        run, settings,
    },
    sys::{heap, privilege},
};
use mesh_common::names::exit;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().collect();
    let mut cli = settings::read(&args).unwrap_or_else(|error| error.exit());
    let format = cli.run_args().map_or(LogFormat::Text, |args| args.log_format);
    let done = match cli.command {
        Command::Run(args) => start(*args).map(|()| exit::OK),
        Command::Broker(args) => supervise(&args),
        Command::Cleanup(place) => cleanup::cleanup(&place).map(|removed| {
            for what in &removed {
                println!("removed {what}");
            }
            if removed.is_empty() {
                println!("nothing to remove");
            }
            exit::OK
        }),
    };
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            match format {
                LogFormat::Text => eprintln!("mesh-agent: {error:#}"),
                LogFormat::Json => tracing::error!("{error:#}"),
            }
            exit::FAILURE.into()
        }
    }
}

/// The API server's answers are told of by the source, once and in words for operators.
const QUIET: &str = "info,kube_client=off";

fn start(args: RunArgs) -> anyhow::Result<()> {
    heap::keep_large_apart();
    log_as(args.log_format);
    broker::settle_in()?;
    // Before there are other threads, which inherit what this one may do.
    privilege::lay_aside().context("laying capabilities aside")?;
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

/// The broker has its arguments read as the agent will read them, so that what is wrong with them is said at once.
fn supervise(args: &BrokerArgs) -> anyhow::Result<u8> {
    let Supervised::Run(run) = &args.command;
    log_as(run.log_format);
    // The broker's own options come before, and none of their values is this word.
    let args_of_run: Vec<OsString> = env::args_os()
        .skip(1)
        .skip_while(|arg| *arg != *Supervised::RUN)
        .collect();
    broker::run(&args_of_run, args.grace_period)
}

fn log_as(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

//! `meshctl`: what the kernel holds, in the words of Kubernetes.
//!
//! Everything is read from the pinned maps and links, so it works while the agent is dead; the agent is asked
//! only for what nobody else knows. What is shown is built by pure functions from what was read.

mod agent;
mod answer;
pub mod args;
mod command;
mod failure;
mod fdinfo;
mod held;
mod node;
mod output;
mod remote;
mod scope;
pub mod selector;
mod sysdump;

use std::{env, io::IsTerminal, process::ExitCode};

use self::{args::Invocation, output::style::Style};

/// The whole of `meshctl`.
#[must_use]
pub fn main() -> ExitCode {
    let invocation = Invocation::parse(env::args_os());
    if invocation.cli.end_with_stdin {
        remote::end_with_stdin();
    }
    let style = Style::detect(std::io::stdout().is_terminal(), |name| env::var(name).ok());
    let done = match remote::target(&invocation.cli) {
        Ok(None) => command::run(invocation, style),
        Ok(Some(target)) => remote::run(&target, &invocation),
        Err(failure) => Err(failure),
    };
    let done = done.and_then(|answer| {
        answer.print()?;
        Ok(answer.exit)
    });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("meshctl: {failure}");
            failure.exit().into()
        }
    }
}

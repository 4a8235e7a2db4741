//! Running commands: announced first, in a process group of their own, without a terminal to read from.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::interrupt::{self, Forwarding};
use crate::shown::shown;

/// Announces and runs a command; anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let mut child = start(command)?;
    let forwarding = Forwarding::to(&child);
    let status = child.wait().with_context(|| shown(command))?;
    finish(&forwarding)?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// The standard output of a command that only answers a question; nothing when it fails or is not there.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says what is about to run.
pub fn announce(command: &Command) {
    eprintln!("$ {}", shown(command));
}

/// Starts a command as the leader of its own process group.
pub fn start(command: &mut Command) -> Result<Child> {
    interrupt::check()?;
    command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))
}

/// An interrupted command is over only when its whole group is.
pub fn finish(forwarding: &Forwarding) -> Result<()> {
    if let Err(interrupted) = interrupt::check() {
        forwarding.end_stragglers();
        return Err(interrupted.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_to_a_program_that_is_not_there_has_no_answer() {
        assert_eq!(ask(&mut Command::new("/nonexistent/program")), None);
    }
}
